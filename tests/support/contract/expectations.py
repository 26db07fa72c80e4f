"""What one service expects of the other's JSON: found out by experiment, written down, held against what is sent.

An expectation of a body is a list of members, each with its JSON types or, where it matters, the very value. A member
is expected if the reader does otherwise without it, so nothing is expected that is not read.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from ci import ROOT

Body = dict[str, Any]
Outcome = Callable[[Body], object]

FOLDER = ROOT / "tests" / "contract"
_NAMES: dict[type, str] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    dict: "object",
    list: "list",
}


def stored(name: str) -> Any:
    """The contract that is committed under this name."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def compare(name: str, recorded: Any) -> None:
    """Fail unless what was recorded just now is what is committed; with TANDEM_RECORD=1, that is written anew."""
    text = json.dumps(recorded, indent=2) + "\n"
    place = FOLDER / f"{name}.json"
    if os.environ.get("TANDEM_RECORD"):
        place.write_text(text)
    assert text == place.read_text(), "the reader has changed: TANDEM_RECORD=1 pytest tests/contract records it anew"


def read_by(outcome: Outcome, sample: Body, exact: set[str]) -> Body:
    """The members of a sample that a reader reads, by path.

    `outcome` is what comes of the reader's reading a body; an exception that it raises is an outcome too. Of the
    paths in `exact` the value is expected to be the sample's.
    """
    as_it_is = _attempt(outcome, sample)
    assert not isinstance(as_it_is, Exception), as_it_is
    found = {}
    for path, value in _members(sample, ""):
        if _attempt(outcome, _changed(sample, path)) != as_it_is:
            others = [None, *(["a text"] if value is None else [])]
            taken = [one for one in others if not isinstance(_attempt(outcome, _changed(sample, path, one)), Exception)]
            types = sorted({_type(one) for one in (value, *taken)})
            found[path] = {"equals": value} if path in exact else " or ".join(types)
    return found


def broken(expected: Body, body: Any) -> list[str]:
    """How a body is not as expected; what it has besides does not matter."""
    return [f"{path} {why}" for path, wanted in expected.items() if (why := _why(wanted, body, path))]


def _why(wanted: Body | str, body: Any, path: str) -> str | None:
    for name in path.strip("/").split("/"):
        if isinstance(body, list) and not body:
            return "is in an empty list"
        if not isinstance(body, list) and (not isinstance(body, dict) or name not in body):
            return "is missing"
        body = body[int(name)] if isinstance(body, list) else body[name]
    if isinstance(wanted, dict):
        return None if body == wanted["equals"] else f"is {body!r}, not {wanted['equals']!r}"
    return None if _type(body) in wanted.split(" or ") else f"is {_type(body)}, not {wanted}"


def _type(value: Any) -> str:
    return "null" if value is None else _NAMES[type(value)]


def _members(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All that is no object or list, by path."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path, value
        return
    for name, member in pairs:
        yield from _members(member, f"{path}/{name}")


_GONE = object()


def _changed(sample: Body, path: str, value: Any = _GONE) -> Body:
    body = copy.deepcopy(sample)
    holder: Any = body
    *above, last = path.strip("/").split("/")
    for name in above:
        holder = holder[int(name)] if isinstance(holder, list) else holder[name]
    if value is _GONE:
        del holder[last]
    else:
        holder[last] = value
    return body


def _attempt(outcome: Outcome, body: Body) -> object:
    try:
        return outcome(body)
    except Exception as error:
        return _Raised(error)


class _Raised(Exception):
    """An exception as an outcome: equal to others of its kind."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.kind = type(error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Raised) and other.kind is self.kind

    def __hash__(self) -> int:
        return hash(self.kind)
