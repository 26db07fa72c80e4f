"""Announcing that a path will go away: the headers `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link`.

    @blueprint.get("/books")
    @facts(deprecated=Deprecation(datetime(2027, 1, 1, tzinfo=UTC), about="https://books.example/changes"))
    def list_books() -> Response:

Every response of such a path has the headers, also an error, and its OpenAPI operation is `deprecated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when a path is deprecated, and when it goes away, both in UTC. `about` is the URL of a page about it."""

    since: datetime
    sunset: datetime | None = None
    about: str = ""

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that announce it."""
        found = [("Deprecation", f"@{int(self.since.timestamp())}")]
        if self.sunset is not None:
            found.append(("Sunset", format_datetime(self.sunset, usegmt=True)))
        if self.about:
            found.append(("Link", f'<{self.about}>; rel="deprecation"; type="text/html"'))
        return found
