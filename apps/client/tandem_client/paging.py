"""Lists that are longer than a page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from tandem_client.answers import Result, read_all
from tandem_client.errors import UnexpectedAnswer
from tandem_client.transport import Transport

T = TypeVar("T", bound=Result)


def every(kind: type[T], transport: Transport, *path: str, **query: Any) -> Iterator[T]:
    """All results of a list, newest first; the next page is asked for when the last one has been used up.

    What is made meanwhile does not move those that follow. Raises what asking for a page raises, where it happens:
    what came before stays good.
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
                f"The list {'/'.join(path)} goes round in circles: its page names itself as the next one.",
                status=answer.status,
                body=answer.body,
                request_id=answer.request_id,
            )
        cursor = following


def moment(time: datetime | None) -> str | None:
    """A point in time as queries have it (RFC 3339, UTC). Raises ValueError for one that has no time zone."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone: datetime.now(UTC) has one")
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
