"""Strict parsing of requests: bodies, JSON and queries. Errors point to fields with JSON pointers."""

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
    """Parse a body that is a JSON object; an empty body is {}.

    Numbers with a fraction or exponent become Decimal, never float. With `trusted`, strings are not searched for
    control characters and card numbers: the sender has already done that.

    Raises Problem `malformed-request` for anything else than a JSON object (RFC 8259), duplicate keys, NaN, Infinity
    or too many levels of nesting; Problem `card-number` for a string that looks like a card number; and Problem
    `validation` for control characters and lone surrogates.
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
    return str(error) if isinstance(error, _Unacceptable) else "a number in it is out of range"


class _Unacceptable(ValueError):
    """Something that JSON allows or Python accepts, and that the services refuse."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Unacceptable(f"the key {json.dumps(cards.mask(twice))[:80]} occurs twice in one object")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _Unacceptable(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_no_constant)

_SUSPICIOUS = re.compile(r"[\\\x7f-\x9f]|\d(?:[\s\-]*\d){12}")


def _is_suspicious(text: str) -> bool:
    """Return whether `_inspect` could find anything in a body, which is a much faster check.

    It cannot without an escape, a control character that JSON allows, enough digits for a card number with whatever
    separates them, or enough brackets to be nested too deeply.
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
    """Return a member's name as one reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


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
    """Return the body in a canonical form, for fingerprints: independent of the order of keys and of white space."""
    return _CANONICAL.encode(body).encode()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def pointers(messages: Any, pointer: str = "") -> list[dict[str, str]]:
    """Return marshmallow's nested messages as a flat list of {"pointer", "detail"}."""
    if isinstance(messages, Mapping):
        found: list[dict[str, str]] = []
        for key, value in messages.items():
            # `_schema` has messages about the whole object, unless the request has a field of this name.
            whole = key == "_schema" and value != ["Unknown field."]
            here = pointer if whole else f"{pointer}/{escape(str(key))}"
            found += pointers(value, here)
        return found
    if isinstance(messages, list):
        return [problem for message in messages for problem in pointers(message, pointer)]
    return [{"pointer": pointer, "detail": str(messages)}]


def check_query(req: flask.Request) -> None:
    """Check the text of a query.

    Raises Problem `malformed-request` if it is not UTF-8, Problem `card-number` for a card number, and Problem
    `validation` for control characters and for a parameter that occurs twice.
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
        errors = [{"pointer": f"/{escape(name)}", "detail": "Must occur once only."} for name in twice]
        raise Problem("validation", "A query parameter occurs twice.", errors=errors)


def refuse_query(req: flask.Request) -> NoReturn:
    """Refuse a query on a path that takes none. Raises Problem `validation`, or what `check_query` raises."""
    check_query(req)
    errors = [{"pointer": f"/{escape(name)}", "detail": "Unknown field."} for name in req.args]
    raise Problem("validation", "This path takes no query parameters.", errors=errors)


def load_body(load: Load) -> Any:
    """Parse the request's body, and return what the schema behind `load` loads from it.

    The parsed body is kept in `g.body`, for fingerprints. Raises what `read_body` and `parse_json` raise, Problem
    `unsupported-media-type` for a body that is not JSON, and Problem `validation` for invalid fields.
    """
    req: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]
    data = read_body(req)
    if data and req.mimetype != "application/json" and not req.mimetype.endswith("+json"):
        given = cards.mask(req.mimetype) or "missing"
        raise Problem("unsupported-media-type", f"The Content-Type of the body is {given}; it must be JSON.")
    flask.g.body = body = parse_json(data)
    return _load(load, body)


def load_query(load: Load) -> Any:
    """Return what the schema behind `load` loads from the request's query.

    Raises what `check_query` raises, and Problem `validation` for invalid parameters.
    """
    check_query(flask.request)
    return _load(load, flask.request.args.to_dict())


def _load(load: Load, data: dict[str, Any]) -> Any:
    try:
        return load(data)
    except ma.ValidationError as error:
        found = pointers(error.messages)
        count = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
        raise Problem("validation", f"{count} not valid.", errors=found) from error
