"""Lists a page at a time, newest first, by key and not by offset: rows that arrive meanwhile move nothing."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from chassis.database import Row
from chassis.problems import invalid
from chassis.web import answer


def after(cursor: str | None) -> str | None:
    """The id that a cursor stands for; the page continues after it. Raises Problem `validation`."""
    if cursor is None:
        return None
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(cursor + "==")))
    except ValueError as error:
        raise invalid("/cursor", "Must be the next_cursor of an earlier page.") from error


def page(rows: list[Row], limit: int, query: dict[str, Any]) -> Response:
    """The answer for up to limit + 1 rows with `id` and `body` (JSON text): the one too many says there is more."""
    cursor = None
    if len(rows) > limit:
        rows = rows[:limit]
        cursor = base64.urlsafe_b64encode(uuid.UUID(str(rows[-1]["id"])).bytes).decode().rstrip("=")
    body = f'{{"data": [{", ".join(row["body"] for row in rows)}], "next_cursor": {json.dumps(cursor)}}}'
    headers = {}
    if cursor:
        headers["Link"] = f'<{request.path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
    return answer(body, headers=headers)


def whole(rows: list[Row]) -> Response:
    """The answer for a list that is never long enough to need pages."""
    return answer(f'{{"data": [{", ".join(row["body"] for row in rows)}]}}')
