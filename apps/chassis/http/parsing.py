"""Strict parsing of requests: bodies, JSON and queries. Errors point to fields with JSON pointers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import chain
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import flask
import marshmallow as ma
import orjson
from gunicorn.http.errors import ParseException

from chassis import cards
from chassis.http import inspection
from chassis.http.fast_load import Load
from chassis.http.fields import Member
from chassis.http.inspection import FREE, Path, Rule, escape, pointer
from chassis.http.problems import MAX_ERRORS, Problem, invalid

MAX_BODY = 256 * 1024
MAX_VALUES = 1500
"""The most values of a body, and the most objects and lists. The largest valid body has fewer than 1,000."""
_MAX_NUMBER = 10_000  # characters of a number with a fraction or an exponent


def parse_json(data: bytes) -> dict[str, Any]:
    """Parse a body that is a JSON object; an empty body is {}. Its texts are not inspected yet.

    Numbers with a fraction or exponent become Decimal, never float.

    Raises Problem `malformed-request` for anything else than a JSON object (RFC 8259), duplicate keys, NaN, Infinity
    or too many levels of nesting, and Problem `validation` for more than `MAX_VALUES` values.
    """
    return _parse(_decode(data)) if data else {}


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("malformed-request", "The body is not well-formed JSON: it is not UTF-8.") from error
    if text.startswith("\ufeff"):
        raise Problem("malformed-request", "The body begins with a BOM (RFC 8259, section 8.1).")
    return text


def _parse(text: str) -> dict[str, Any]:
    _check_size(text)
    try:
        body = _DECODER.decode(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Problem("malformed-request", f"The body is not well-formed JSON: {_reason(error)}.") from error
    if not isinstance(body, dict):
        raise Problem("malformed-request", "The body must be a JSON object.")
    if _brackets(text) > inspection.MAX_DEPTH and inspection.is_too_deep(body):
        raise Problem("malformed-request", f"The body is nested more than {inspection.MAX_DEPTH} levels deep.")
    return body


_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def _check_size(text: str) -> None:
    """Check the number of values before they are made: 256 KiB of JSON can become 20 MB of objects."""
    if text.count(",") + _brackets(text) <= MAX_VALUES:
        return
    commas = brackets = last = 0
    for number, string in enumerate(chain(_STRING.finditer(text), [None])):
        end = len(text) if string is None else string.start()
        commas += text.count(",", last, end)
        brackets += text.count("{", last, end) + text.count("[", last, end)
        if commas > MAX_VALUES or number > 2 * MAX_VALUES:
            raise invalid("", f"The body has more than {MAX_VALUES} values.")
        if brackets > MAX_VALUES:
            detail = "it is nested too deeply, or has too many objects and lists"
            raise Problem("malformed-request", f"The body is not well-formed JSON: {detail}.")
        last = end if string is None else string.end()


def _brackets(text: str) -> int:
    return text.count("{") + text.count("[")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) if isinstance(error, _Unacceptable) else "a number in it is out of range"


class _Unacceptable(ValueError):
    """Something that JSON allows or Python accepts, and that the services refuse."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Unacceptable(f"the key {json.dumps(cards.masked_start(twice, 80))} occurs twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _Unacceptable(f"{name} is not JSON")


def _decimal(text: str) -> Decimal:
    if len(text) > _MAX_NUMBER:
        raise _Unacceptable(f"a number has more than {_MAX_NUMBER} characters")
    return Decimal(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_decimal, parse_constant=_no_constant)


def read_body(req: flask.Request) -> bytes:
    """Read the whole body. Raises Problem `content-too-large`, or Problem `malformed-request` if it is incomplete.

    A body without Content-Length (chunked) is read up to one byte past the limit, because werkzeug would truncate it
    there without an error. A body that is shorter than its Content-Length was cut off on its way, and the rest of it
    could look complete.
    """
    stream, length = req.environ["wsgi.input"], req.content_length
    if (length or 0) > MAX_BODY:
        raise Problem("content-too-large", f"The body has {length} bytes; {MAX_BODY} are allowed.")
    if length is None and not req.environ.get("wsgi.input_terminated"):
        return b""
    try:
        data: bytes = stream.read(MAX_BODY + 1 if length is None else length)
    except (OSError, ParseException) as error:
        raise Problem("malformed-request", "The body could not be read to the end.") from error
    if len(data) > MAX_BODY:
        raise Problem("content-too-large", f"The body has more than the {MAX_BODY} bytes that are allowed.")
    if length is not None and len(data) < length:
        raise Problem("malformed-request", f"The body ends after {len(data)} of {length} bytes.")
    return data


def canonical(body: Mapping[str, Any]) -> bytes:
    """Return the body in a canonical form, for fingerprints: independent of the order of keys and of white space.

    orjson writes the same bytes as the standard library, in a tenth of the time, if everything is ASCII and there is no
    number that it cannot hold.
    """
    try:
        found = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a Decimal, or an integer of more than 64 bits
        return _CANONICAL.encode(body).encode()
    return found if found.isascii() and b"\x7f" not in found else _CANONICAL.encode(body).encode()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def not_valid(error: ma.ValidationError, detail: str | None = None) -> Problem:
    """Return the problem that a schema refuses the data, with a pointer to each invalid field."""
    found = _flat(error.messages, ())
    count = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
    more = f" The first {MAX_ERRORS} are listed." if len(found) > MAX_ERRORS else ""
    errors = [{"pointer": pointer(path), "detail": text} for path, text in found[:MAX_ERRORS]]
    return Problem(
        "validation", detail or f"{count} not valid.{more}", errors=errors, more_errors=len(found) - len(errors)
    )


def _flat(messages: Any, path: Path) -> list[tuple[Path, str]]:
    """Return marshmallow's nested messages as a flat list, each with the path to its field."""
    if isinstance(messages, Mapping):
        found: list[tuple[Path, str]] = []
        for key, value in messages.items():
            # `_schema` has messages about the whole object, unless the request has a field or a label of this name.
            whole = key == "_schema" and not isinstance(key, Member) and value != ["Unknown field."]
            found += _flat(value, path if whole else (path, key))
        return found
    if isinstance(messages, list):
        return [each for message in messages for each in _flat(message, path)]
    return [(path, str(messages))]


def check_query(req: flask.Request, rule: Rule = FREE) -> None:
    """Check the text of a query; `rule` says which parameters are codes.

    Raises Problem `malformed-request` if it is not UTF-8, Problem `card-number` for a card number, and Problem
    `validation` for control characters and for a parameter that occurs twice.
    """
    try:
        unquote_to_bytes(req.query_string).decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed-request", "The query is not UTF-8.") from error
    inspection.inspect(req.args.items(multi=True), rule)
    twice = [name for name, values in req.args.lists() if len(values) > 1]
    if twice:
        raise Problem("validation", "A query parameter occurs twice.", errors=_each(twice, "Must occur once only."))


def refuse_query(req: flask.Request) -> None:
    """Refuse parameters on a path that takes none: a query such as `&` has none, and is ignored as on other paths.

    Raises Problem `validation`, or what `check_query` raises.
    """
    check_query(req)
    if req.args:
        errors = _each(req.args, "Unknown field.")
        raise Problem("validation", "This path takes no query parameters.", errors=errors)


def _each(names: Iterable[str], detail: str) -> list[dict[str, str]]:
    return [{"pointer": f"/{escape(name)}", "detail": detail} for name in names]


def load_body(load: Load, rule: Rule) -> Any:
    """Parse the request's body, and return what the schema behind `load` loads from it. `rule` is that schema's.

    The parsed body is kept in `g.body`, for fingerprints. Raises what `read_body`, `parse_json` and
    `inspection.inspect` raise, Problem `unsupported-media-type` for a body that is not JSON, and Problem `validation`
    for invalid fields.
    """
    req: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
    data = read_body(req)
    if data and req.mimetype != "application/json" and not req.mimetype.endswith("+json"):
        given = cards.masked_start(req.mimetype, 100) or "missing"
        raise Problem("unsupported-media-type", f"The Content-Type of the body is {given}; it must be JSON.")
    text = _decode(data)
    flask.g.body = body = _parse(text) if text else {}
    return load_json(load, rule, body, suspicious=inspection.is_suspicious(text))


def load_query(load: Load, rule: Rule) -> Any:
    """Return what the schema behind `load` loads from the request's query. `rule` is that schema's.

    Raises what `check_query` raises, and Problem `validation` for invalid parameters.
    """
    check_query(flask.request, rule)
    return load_json(load, rule, _with_labels(flask.request.args.to_dict(), rule), suspicious=False)


def _with_labels(args: dict[str, Any], rule: Rule) -> dict[str, Any]:
    """Return a query with the parameters of labels as one object: `labels.a=1&labels.b=2` is two labels."""
    for name in [name for name, member in rule.members.items() if member.labels and name not in args]:
        given = {key: value for key, value in args.items() if key.startswith(f"{name}.")}
        if given:
            args = {key: value for key, value in args.items() if key not in given}
            args[name] = {key.removeprefix(f"{name}."): value for key, value in given.items()}
    return args


def load_json(load: Load, rule: Rule, data: dict[str, Any], *, suspicious: bool) -> Any:
    """Return what a schema loads, and inspect the texts if they are `suspicious`, after their lengths were checked.

    Raises Problem `validation`, and what `inspection.inspect` raises, also for data that the schema refuses.
    """
    try:
        loaded = load(data)
    except ma.ValidationError as error:
        if suspicious:
            inspection.inspect(data.items(), rule, inspection.MAX_REFUSED)
        raise not_valid(error) from error
    if suspicious:
        inspection.inspect(data.items(), rule)
    return loaded
