"""If-Match (RFC 9110, section 13.1.1): change a resource only as the caller has seen it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chassis.http.problems import Problem

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_STRONG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Condition:
    """The versions that the caller would change; any, where `versions` is None."""

    versions: frozenset[str] | None = None

    def check(self, version: int) -> None:
        """Let this version pass, which must be locked, or else raise Problem `precondition-failed`."""
        if self.versions is not None and str(version) not in self.versions:
            raise Problem("precondition-failed", f'If-Match names other versions; the current ETag is "{version}".')


ANY = Condition()


def if_match(header: str | None) -> Condition:
    """The condition that an If-Match header, if there is one, makes.

    `*` is met by whatever exists. Weak tags never match, nor does anything else in a list that is none.
    """
    if header is None or header.strip() == "*":
        return ANY
    if not _LIST.fullmatch(header):
        return Condition(frozenset())
    return Condition(frozenset(tag for weak, tag in _STRONG.findall(header) if not weak))
