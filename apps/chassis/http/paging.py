"""Lists a page at a time, newest first, by key and not by offset: rows that arrive meanwhile move nothing.

A cursor names the last row that was seen and nothing else: whose it was and what was filtered does not matter to it,
so under another key or other filters it is a place in that list, and shows nothing of anybody else's.
"""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from chassis.http.answers import answer, to_json
from chassis.http.problems import Problem, invalid
from chassis.postgres.database import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def after(cursor: str | None) -> str | None:
    """The id that a cursor stands for; the page continues after it. Raises Problem `validation`."""
    return None if cursor is None else str(uuid.UUID(bytes=_decode(cursor, 16)))


def after_moment(cursor: str | None) -> tuple[datetime, str] | None:
    """The time and id that a cursor of a list by time stands for. Raises Problem `validation`."""
    if cursor is None:
        return None
    data = _decode(cursor, 24)
    microseconds = int.from_bytes(data[:8], "big")
    if microseconds > _LAST:
        raise _not_ours()
    return _EPOCH + timedelta(microseconds=microseconds), str(uuid.UUID(bytes=data[8:]))


def _decode(cursor: str, length: int) -> bytes:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _not_ours() from error
    if len(data) != length or _encode(data) != cursor:
        raise _not_ours()
    return data


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _not_ours() -> Problem:
    return invalid("/cursor", "Must be the next_cursor of an earlier page.")


def cursor_of(row: Row) -> str:
    """The cursor that names a row, by its `id`, and in a list by time its `created_at`."""
    mark = uuid.UUID(str(row["id"])).bytes
    if "created_at" in row:  # the list is ordered by time before it is by id
        mark = ((row["created_at"] - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big") + mark
    return _encode(mark)


def page(rows: list[Row], limit: int) -> Response:
    """The answer for up to limit + 1 rows with `id` and `body` (JSON text): the one too many says there is more.

    Rows of a list by time have `created_at` too. The link to the next page keeps the query that this one was asked by.
    """
    cursor = None
    if len(rows) > limit:
        rows = rows[:limit]
        cursor = cursor_of(rows[-1])
    headers = {}
    if cursor:
        query: dict[str, Any] = {**request.args, "cursor": cursor}
        headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return answer(_list(rows, f',"next_cursor":{to_json(cursor).decode()}'), headers=headers)


def whole(rows: list[Row]) -> Response:
    """The answer for a list that is never long enough to need pages."""
    return answer(_list(rows))


def _list(rows: list[Row], more: str = "") -> str:
    """A list as JSON text, made from text so that it is parsed only once; `more` has further members."""
    return f'{{"data":[{",".join(row["body"] for row in rows)}]{more}}}'
