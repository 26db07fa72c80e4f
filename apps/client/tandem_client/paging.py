"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, TypeVar

from tandem_client.answers import Result, read_all
from tandem_client.errors import UnexpectedAnswer
from tandem_client.steps import Listing
from tandem_client.transport import Transport

T = TypeVar("T", bound=Result)


def iterate(kind: type[T], transport: Transport, *path: str, **query: Any) -> Listing[T]:
    """Yield all pages of a list, in its order. A page is requested when the one before it is used up.

    Entries created meanwhile do not shift the pages that follow. A failed request raises at the result where it
    happens; the results before it are valid.
    """
    cursor = None
    while True:
        answer = yield from transport.get(*path, **query, cursor=cursor)
        yield read_all(kind, answer)
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
    """Format a point in time for a query (RFC 3339, UTC). Raises ValueError without a time zone or out of range."""
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone: use datetime.now(timezone.utc), for example")
    try:
        utc = time.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"{time!r} is out of range") from error
    return utc.isoformat().replace("+00:00", "Z")


def query_values(values: str | Iterable[str] | None) -> str | None:
    """Format one or several values of a filter."""
    return values if values is None or isinstance(values, str) else ",".join(values)
