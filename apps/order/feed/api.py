"""The HTTP API of the feed."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from flask import Response, g, request

from chassis.auth.keyring import requires
from chassis.http import paging
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.service import service
from order.feed import schemas
from order.feed.service import Feed
from order.feed.store import Place

blueprint = Blueprint("events", __name__, url_prefix="/v1", description="Events of all orders, for other services")


def feed() -> Feed:
    """Return the use case of the current application."""
    found: Feed = service().use_cases["feed"]
    return found


@blueprint.get("/events")
@requires("orders:read")
@blueprint.arguments(schemas.EventsQuery, location="query")
@facts("events-rewound")
@blueprint.response(200, schemas.FeedPage)
def list_all_events(query: dict[str, Any]) -> Response:
    """List the events of all orders, oldest first.

    No event is skipped: a caller that continues with `next_cursor` gets each event once. Events of one order come in
    the order of its versions. If no event follows, a request with `wait` waits for the next one.
    """
    after, limit, wait = query.pop("after", None), query.pop("limit"), query.pop("wait")
    page = feed().read(g.merchant, query, None if after is None else _place(after), limit, wait)
    cursor = _cursor(page.end)
    next_page = {**request.args, "after": cursor}
    next_page.pop("since", None)
    events = ",".join(row["body"] for row in page.rows)
    more = "true" if page.has_more else "false"
    return answer(
        f'{{"data":[{events}],"next_cursor":"{cursor}","has_more":{more}}}',
        headers={"Link": f'<{request.path}?{urlencode(next_page)}>; rel="next"'},
    )


def _cursor(place: Place) -> str:
    position, version = place.position.to_bytes(8, "big"), place.version.to_bytes(8, "big")
    return paging.encode(position + uuid.UUID(place.order_id).bytes + version)


def _place(cursor: str) -> Place:
    data = paging.decode(cursor, 32, "/after")
    position, version = int.from_bytes(data[:8], "big"), int.from_bytes(data[24:], "big")
    if max(position, version) >= 2**63:
        raise paging.invalid_cursor("/after")
    return Place(position, str(uuid.UUID(bytes=data[8:24])), version)
