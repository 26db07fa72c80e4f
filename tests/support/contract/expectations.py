"""Contracts between the services: which members of a JSON body a reader needs, found by experiment.

A contract lists members by path, each with its JSON types or its exact value. A member is in the contract if removing
it changes what the reader does, so members that are not read are not expected.
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
    """Return the committed contract of this name."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def compare(name: str, recorded: Any) -> None:
    """Fail if the recorded contract differs from the committed one, which TANDEM_RECORD=1 replaces first."""
    text = json.dumps(recorded, indent=2) + "\n"
    path = FOLDER / f"{name}.json"
    if os.environ.get("TANDEM_RECORD"):
        path.write_text(text)
    assert text == path.read_text(), "the reader has changed; to record it again: TANDEM_RECORD=1 pytest tests/contract"


def read_by(outcome: Outcome, sample: Body, exact: set[str]) -> Body:
    """Return the members of `sample` that a reader needs, by path.

    `outcome` lets the reader read a body and returns the result; an exception is a result too. For paths in `exact`,
    the contract has the sample's value instead of the type.
    """
    complete = _attempt(outcome, sample)
    assert not isinstance(complete, Exception), complete
    found = {}
    for path, value in _members(sample, ""):
        if _attempt(outcome, _changed(sample, path)) != complete:
            others = [None, *(["a text"] if value is None else [])]
            valid = [one for one in others if not isinstance(_attempt(outcome, _changed(sample, path, one)), Exception)]
            types = sorted({_type(one) for one in (value, *valid)})
            found[path] = {"equals": value} if path in exact else " or ".join(types)
    return found


def broken(expected: Body, body: Any) -> list[str]:
    """Return how a body violates a contract. Additional members do not matter."""
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
    """Yield all values that are not objects or lists, by path."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield path, value
        return
    for name, member in pairs:
        yield from _members(member, f"{path}/{name}")


_REMOVED = object()


def _changed(sample: Body, path: str, value: Any = _REMOVED) -> Body:
    body = copy.deepcopy(sample)
    holder: Any = body
    *above, last = path.strip("/").split("/")
    for name in above:
        holder = holder[int(name)] if isinstance(holder, list) else holder[name]
    if value is _REMOVED:
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
    """An exception as an outcome. It is equal to others of the same type."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.kind = type(error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Raised) and other.kind is self.kind

    def __hash__(self) -> int:
        return hash(self.kind)
