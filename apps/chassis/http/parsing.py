"""Reading requests strictly: bodies, JSON, queries, and what is wrong with them in JSON pointers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import flask
import marshmallow as ma
from gunicorn.http.errors import ParseException

from chassis import cards
from chassis.http.fast_load import Load
from chassis.http.problems import Problem

MAX_BODY = 256 * 1024
_MAX_DEPTH = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def parse_json(data: bytes, *, trusted: bool = False) -> dict[str, Any]:
    """A JSON object from a body. Numbers with a fraction or exponent become Decimal, never float.

    With `trusted`, its strings are not looked into: they were, where they came from.

    An empty body is {}. Raises Problem: `malformed-request` for what is not JSON (RFC 8259), has a key twice,
    NaN or Infinity, or is nested too deeply; `card-number`; `validation` for control characters.
    """
    if not data:
        return {}
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise _Unacceptable("it begins with a BOM (RFC 8259, section 8.1)")
        body = _DECODER.decode(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Problem("malformed-request", f"The body is not well-formed JSON: {_reason(error)}.") from error
    if not isinstance(body, dict):
        raise Problem("malformed-request", "The body must be a JSON object.")
    if not trusted and _is_suspicious(text):
        _inspect(body, "", 0)
    return body


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error) if isinstance(error, _Unacceptable) else "a number in it is out of all bounds"


class _Unacceptable(ValueError):
    """What JSON allows, or Python would let pass, and we do not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Unacceptable(f"the key {json.dumps(cards.mask(twice))[:80]} stands twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _Unacceptable(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_no_constant)

_SUSPICIOUS = re.compile(r"[\\\x7f-\x9f]|\d(?:[\s\-]*\d){12}")


def _is_suspicious(text: str) -> bool:
    """Whether a body may hold what `_inspect` looks for.

    Not without an escape, a control character that JSON lets pass, digits enough for a card number whatever stands
    between them, or brackets enough to be nested too deeply: then no string of it need be looked at.
    """
    return text.count("{") + text.count("[") > _MAX_DEPTH or _SUSPICIOUS.search(text) is not None


def _inspect(value: Any, pointer: str, depth: int) -> None:
    if isinstance(value, str):
        _inspect_text(value, pointer)
    elif isinstance(value, dict | list):
        if depth > _MAX_DEPTH:
            raise Problem("malformed-request", f"The body is nested more than {_MAX_DEPTH} levels deep.")
        if isinstance(value, dict):
            for key, member in value.items():
                _inspect_text(key, pointer)
                _inspect(member, f"{pointer}/{escape(key)}", depth + 1)
        else:
            for index, item in enumerate(value):
                _inspect(item, f"{pointer}/{index}", depth + 1)


def _inspect_text(text: str, pointer: str) -> None:
    if _CONTROL.search(text):
        raise _at("validation", pointer, "Must not hold control characters or lone surrogates.")
    if cards.has_card_number(text):
        raise _at("card-number", pointer, "Must not hold a card number.")


def _at(name: str, pointer: str, detail: str) -> Problem:
    return Problem(name, detail, errors=[{"pointer": pointer, "detail": detail}])


def escape(key: str) -> str:
    """A member's name as one reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def read_body(req: flask.Request) -> bytes:
    """The whole body. Raises Problem `content-too-large`, or `malformed-request` when it breaks off.

    A body that says no length (chunked) is read to one byte past the limit, for werkzeug would cut it there
    and say nothing; one that is shorter than it says was cut on its way, and what is left may look complete.
    """
    stream, length = req.environ["wsgi.input"], req.content_length
    if (length or 0) > MAX_BODY:
        raise Problem("content-too-large", f"The body has {length} bytes; {MAX_BODY} are allowed.")
    if length is None and not req.environ.get("wsgi.input_terminated"):
        return b""
    try:
        data: bytes = stream.read(MAX_BODY + 1 if length is None else length)
    except (OSError, ParseException) as error:
        raise Problem("malformed-request", "The body could not be read to its end.") from error
    if len(data) > MAX_BODY:
        raise Problem("content-too-large", f"The body has more than the {MAX_BODY} bytes that are allowed.")
    if length is not None and len(data) < length:
        raise Problem("malformed-request", f"The body breaks off after {len(data)} of {length} bytes.")
    return data


def canonical(body: Mapping[str, Any]) -> bytes:
    """The body in one spelling whatever the order of its keys and its white space, for fingerprints."""
    return _CANONICAL.encode(body).encode()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def pointers(messages: Any, pointer: str = "") -> list[dict[str, str]]:
    """Marshmallow's nested messages as a flat list of {"pointer", "detail"}."""
    if isinstance(messages, Mapping):
        found: list[dict[str, str]] = []
        for key, value in messages.items():
            # What marshmallow says of the whole object, unless a field of this name was sent.
            whole = key == "_schema" and value != ["Unknown field."]
            here = pointer if whole else f"{pointer}/{escape(str(key))}"
            found += pointers(value, here)
        return found
    if isinstance(messages, list):
        return [problem for message in messages for problem in pointers(message, pointer)]
    return [{"pointer": pointer, "detail": str(messages)}]


def query(req: flask.Request) -> None:
    """Look into a query. Raises Problem `malformed-request` when it is not UTF-8, `card-number`, or `validation`
    for control characters and for a parameter that stands twice.
    """
    try:
        unquote_to_bytes(req.query_string).decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed-request", "The query is not UTF-8.") from error
    for name, values in req.args.lists():
        for text in (name, *values):
            _inspect_text(text, f"/{escape(cards.mask(name))}")
    twice = [name for name, values in req.args.lists() if len(values) > 1]
    if twice:
        errors = [{"pointer": f"/{escape(name)}", "detail": "Must stand once only."} for name in twice]
        raise Problem("validation", "A query parameter stands twice.", errors=errors)


def refuse_query(req: flask.Request) -> NoReturn:
    """Refuse any query. Raises Problem."""
    query(req)
    errors = [{"pointer": f"/{escape(name)}", "detail": "Unknown field."} for name in req.args]
    raise Problem("validation", "No query parameters are known here.", errors=errors)


def load_body(load: Load) -> Any:
    """The request's body as a schema loads it. The parsed body is kept in `g.body`, for fingerprints.

    Raises Problem: what `read_body` and `parse_json` raise, `unsupported-media-type`, `validation`.
    """
    req: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
    data = read_body(req)
    if data and req.mimetype != "application/json" and not req.mimetype.endswith("+json"):
        raise Problem(
            "unsupported-media-type", f"The body is {cards.mask(req.mimetype) or 'of no declared type'}, not JSON."
        )
    flask.g.body = body = parse_json(data)
    return _load(load, body)


def load_query(load: Load) -> Any:
    """The request's query as a schema loads it. Raises Problem: what `query` raises, `validation`."""
    query(flask.request)
    return _load(load, flask.request.args.to_dict())


def _load(load: Load, data: dict[str, Any]) -> Any:
    try:
        return load(data)
    except ma.ValidationError as error:
        found = pointers(error.messages)
        count = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
        raise Problem("validation", f"{count} not valid.", errors=found) from error
