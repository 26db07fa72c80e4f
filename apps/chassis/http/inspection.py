"""Inspects the texts of a request for what it must not hold: control characters, lone surrogates and card numbers.

What is a card number depends on the field (`chassis.cards`). A `Rule` says what a schema's fields hold. Texts are
inspected after the schema has checked their lengths, and all in one search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import marshmallow as ma
from marshmallow import fields

from chassis import cards
from chassis.http.fields import Integer, Labels, MajorAmount, Payload, QueryInteger, Text
from chassis.http.problems import Problem

MAX_DEPTH = 20
MAX_TEXT = 2000
"""Characters of the longest text that a field can hold."""
MAX_REFUSED = 16 * 1024
"""Characters that are searched for card numbers if a body is refused anyway: the search only decides which error."""
# Stands between two texts: a word marks no number of another text, because it is too far away, and the letter ends a
# number. "?" alone would only separate groups of digits.
_APART = f"{'?' * 16}x{'?' * 16}"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNUSUAL = re.compile(r"[\\\x7f]")


Path: TypeAlias = "tuple[()] | tuple[Path, str | int]"
"""A place in a body: empty, or the path of an object or list and a member's name or index."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a place in a request holds: free text, a code, or a number, which may be any number.

    An object's `members` and a list's `item` have their own rules; those of other members are free text, with free
    text as names, or with codes as names if `labels` is set.
    """

    code: bool = False
    number: bool = False
    labels: bool = False
    members: Mapping[str, Rule] = field(default_factory=dict)
    item: Rule | None = None


FREE = Rule()


def rule_of(schema: ma.Schema) -> Rule:
    """Return the rule for an object of a schema."""
    return Rule(members={each.data_key or name: _rule_of(each) for name, each in schema.load_fields.items()})


def _rule_of(known: fields.Field[Any]) -> Rule:
    if isinstance(known, fields.Nested):
        return rule_of(known.schema)
    if isinstance(known, fields.List):
        return Rule(item=_rule_of(known.inner))
    if isinstance(known, Labels):
        return Rule(labels=True)
    if isinstance(known, Payload):
        members = [rule_of(schema()).members for schema in known.schemas]
        return Rule(members={name: rule for each in members for name, rule in each.items()})
    if isinstance(known, Text):
        return Rule(code=known.code)
    # The format of the others is checked, or they are typed numbers: a large amount is no card number.
    return Rule(code=True, number=isinstance(known, Integer | QueryInteger | MajorAmount))


def is_suspicious(text: str) -> bool:
    """Return whether `inspect` could find anything in the object of this JSON text, which is a much faster check."""
    return not text.isascii() or _UNUSUAL.search(text) is not None or cards.may_have_card_number(text)


def is_too_deep(body: Mapping[str, Any]) -> bool:
    """Return whether a body has more than `MAX_DEPTH` levels of objects and lists."""
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        members = [each for part in level for each in (part.values() if isinstance(part, dict) else part)]
        level = [each for each in members if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def inspect(members: Iterable[tuple[str, Any]], rule: Rule = FREE, most: int | None = None) -> None:
    """Inspect all texts of an object's or a query's members, and the numbers where they may hold none.

    Texts of more than `MAX_TEXT` characters are searched for control characters only: no field accepts them. The
    search for card numbers ends after `most` characters, if given.

    Raises Problem `validation` for control characters and lone surrogates, and Problem `card-number`. Both point to the
    first such text.
    """
    found = list(_of_members(members, rule, ()))
    for text, _, path in found:
        if _CONTROL.search(text):
            raise _at("validation", pointer(path), "Must not hold control characters or lone surrogates.")
    for code in (False, True):
        _search(
            [(text, path) for text, is_code, path in found if is_code == code and len(text) <= MAX_TEXT], code, most
        )


def _search(texts: list[tuple[str, Path]], code: bool, most: int | None) -> None:
    at = cards.find(_APART.join(text for text, _ in texts)[:most], code=code)
    if at is None:
        return
    for text, path in texts:
        at -= len(text) + len(_APART)
        if at < 0:
            raise _at("card-number", pointer(path), "Must not hold a card number.")


def _texts(value: Any, rule: Rule, path: Path) -> Iterator[tuple[str, bool, Path]]:
    """Yield each text, whether it is a code, and the path to it. A member's name is reported at its object."""
    if isinstance(value, str):
        yield value, rule.code, path
    elif isinstance(value, dict):
        yield from _of_members(value.items(), rule, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, rule.item or FREE, (path, index))
    elif not rule.number and isinstance(value, int | Decimal):
        number = Decimal(value).copy_abs()  # abs() rounds, and raises Overflow for 1e1000000
        if 10**12 <= number < 10**20:
            yield f"{number:f}"[:MAX_TEXT], rule.code, path


def _of_members(members: Iterable[tuple[str, Any]], rule: Rule, path: Path) -> Iterator[tuple[str, bool, Path]]:
    for name, member in members:
        known = rule.members.get(name)
        if known is None:
            yield name, rule.labels, path
        yield from _texts(member, known or FREE, (path, name))


def pointer(path: Path) -> str:
    """Return a path as a JSON pointer (RFC 6901)."""
    names = []
    while path:
        path, name = path
        names.append(f"/{escape(str(name))}")
    return "".join(reversed(names))


def escape(name: str) -> str:
    """Return a member's name as one reference token of a JSON pointer (RFC 6901). Long names are cut, cards masked."""
    return cards.masked_start(name, MAX_NAME).replace("~", "~0").replace("/", "~1")


MAX_NAME = 100
"""Characters of a member's name that a response quotes."""


def _at(name: str, pointer: str, detail: str) -> Problem:
    return Problem(name, detail, errors=[{"pointer": pointer, "detail": detail}])
