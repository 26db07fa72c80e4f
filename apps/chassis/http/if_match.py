"""If-Match (RFC 9110, section 13.1.1): change a resource only if it still has the version that the caller has seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chassis.http.compression import plain_tags
from chassis.http.problems import Problem

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_STRONG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Condition:
    """The versions of a resource that a request may change. `versions` is None if it may change any."""

    versions: frozenset[str] | None = None

    def check(self, version: int) -> None:
        """Raise Problem `precondition-failed` unless this version may be changed.

        The caller holds the row's lock, or changes the row only if it still has this version.
        """
        if self.versions is not None and str(version) not in self.versions:
            raise Problem("precondition-failed", f'If-Match names other versions; the current ETag is "{version}".')


ANY = Condition()


def if_match(header: str | None) -> Condition:
    """Return the condition in an If-Match header; `header` is None if the request has none.

    `*` allows any version. Weak tags never match, and a malformed list of tags allows no version.
    """
    if header is None or header.strip() == "*":
        return ANY
    header = plain_tags(header)
    if not _LIST.fullmatch(header):
        return Condition(frozenset())
    return Condition(frozenset(tag for weak, tag in _STRONG.findall(header) if not weak))
