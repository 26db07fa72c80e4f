"""Lists in pages. A page continues after a row, not at an offset, so new rows do not shift it.

A cursor holds only the position of the last row of a page: its id, and its time in lists ordered by time, or its name
in lists ordered by name. It grants no access. Used with another key or other filters, it is a position in the list that
these select.
"""

from __future__ import annotations

import base64
import re
import uuid
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from chassis.http.answers import answer, to_json
from chassis.http.problems import Problem, invalid
from chassis.postgres.database import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile("(?:[2-7][0-9a-f]){1,64}")
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def after(cursor: str | None) -> str | None:
    """Return the id in a cursor; the page continues after it. Raises Problem `validation` for an invalid cursor."""
    return None if cursor is None else str(uuid.UUID(bytes=decode(cursor, 16)))


def after_number(cursor: str | None) -> int:
    """Return the number in a cursor of a list that is ordered by a number, or 0 for the first page.

    The list's rows have the number as `id`, a UUID with this value. Raises Problem `validation` for an invalid cursor.
    """
    return 0 if cursor is None else min(uuid.UUID(bytes=decode(cursor, 16)).int, 2**63 - 1)


def after_name(cursor: str | None) -> str:
    """Return the name in a cursor of a list by name, or "" for the first page.

    The cursor is the name's bytes in hexadecimal. Raises Problem `validation` for an invalid cursor.
    """
    if cursor is None:
        return ""
    if not _NAME.fullmatch(cursor):
        raise invalid_cursor()
    return bytes.fromhex(cursor).decode()


def after_moment(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the time and id in a cursor of a list by time. Raises Problem `validation` for an invalid cursor."""
    if cursor is None:
        return None
    data = decode(cursor, 24)
    microseconds = int.from_bytes(data[:8], "big")
    if microseconds > _LAST:
        raise invalid_cursor()
    return _EPOCH + timedelta(microseconds=microseconds), str(uuid.UUID(bytes=data[8:]))


def decode(cursor: str, length: int, pointer: str = "/cursor") -> bytes:
    """Return the `length` bytes in a cursor. Raises Problem `validation` for an invalid cursor, given at `pointer`."""
    if len(cursor) > 2 * length:
        raise invalid_cursor(pointer)
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise invalid_cursor(pointer) from error
    if len(data) != length or encode(data) != cursor:
        raise invalid_cursor(pointer)
    return data


def encode(data: bytes) -> str:
    """Return a cursor that holds these bytes."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def invalid_cursor(pointer: str = "/cursor") -> Problem:
    """Return the problem that the cursor at `pointer` is invalid."""
    return invalid(pointer, "Must be the next_cursor of another page.")


def cursor_of(row: Row) -> str:
    """Return the cursor of a row, made from its `id` and, in a list by time, its `created_at`; or from its `name`."""
    if "name" in row:
        return str(row["name"].encode().hex())
    position = uuid.UUID(str(row["id"])).bytes
    if "created_at" in row:  # the list is ordered by time, then by id
        position = ((row["created_at"] - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big") + position
    return encode(position)


def page(rows: list[Row], limit: int) -> Response:
    """Return the response for up to `limit` + 1 rows with `body` (JSON text) and `id`, or `name` in a list by name.

    The extra row is not shown: it means that there is another page. So does a row whose body is None, which did not fit
    into the page (see `lists.bounded`). Rows of a list by time also have `created_at`. The Link header to the next page
    keeps the query of this request.
    """
    fitting = list(takewhile(lambda row: row["body"] is not None, rows[:limit]))
    cursor = cursor_of(fitting[-1]) if len(fitting) < len(rows) else None
    rows, headers = fitting, {}
    if cursor:
        query: dict[str, Any] = {**request.args, "cursor": cursor}
        headers["Link"] = f'<{request.path}?{urlencode(query)}>; rel="next"'
    return answer(_list(rows, cursor), headers=headers)


def whole(rows: list[Row]) -> Response:
    """Return the response for a list without pages, which is short; `rows` have `body` (JSON text)."""
    return answer(f'{{"data":[{",".join(row["body"] for row in rows)}]}}')


def _list(rows: list[Row], cursor: str | None) -> str:
    """Return the list as JSON text, joined from text so that it is parsed once."""
    return f'{{"data":[{",".join(row["body"] for row in rows)}],"next_cursor":{to_json(cursor).decode()}}}'
