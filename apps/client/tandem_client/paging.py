"""Iterating over lists that come in pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from tandem_client.answers import Result, read_all
from tandem_client.errors import UnexpectedAnswer
from tandem_client.transport import Transport

T = TypeVar("T", bound=Result)


def iterate(kind: type[T], transport: Transport, *path: str, **query: Any) -> Iterator[T]:
    """Yield all results of a list, in its order. A page is requested when the one before it is used up.

    Entries created meanwhile do not shift the pages that follow. A failed request raises at the result where it
    happens; the results before it are valid.
    """
    cursor = None
    while True:
        answer = transport.get(*path, **query, cursor=cursor)
        yield from read_all(kind, answer)
        following = answer.body.get("next_cursor")
        if following is None:
            return
        if not isinstance(following, str) or following == cursor:
            raise UnexpectedAnswer(
                f"The list {'/'.join(path)} cannot be continued: its next_cursor is not valid or repeats itself.",
                status=answer.status,
                body=answer.body,
                request_id=answer.request_id,
            )
        cursor = following


def query_time(time: datetime | None) -> str | None:
    """Format a point in time for a query (RFC 3339, UTC). Raises ValueError if it has no time zone."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone: use datetime.now(UTC), for example")
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
