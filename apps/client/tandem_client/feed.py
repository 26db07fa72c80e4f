"""The feed of events, and waiting for an order with it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from tandem_client import paging, retry
from tandem_client.answers import Answer, Several, read, read_all
from tandem_client.attempt import MAX_WAIT
from tandem_client.errors import StatusNotReached, UnexpectedAnswer
from tandem_client.model import FeedEvent, Order
from tandem_client.operation import listing, operation
from tandem_client.steps import Listing, Pause, Steps
from tandem_client.transport import Transport
from tandem_client.values import EventType, OrderStatus, Unknown

_SETTLED = frozenset({"payment_failed", "canceled", "refunded", "expired"})
"""An order with one of these statuses changes it only on a further request, or never."""

_EARLIER = timedelta(minutes=1)
"""Longer than a transaction of the service takes: an event's time is that of the begin of its transaction."""

_GRACE = 2.0
"""How many seconds a request may take longer than the service waits for an event."""

_LARGEST_PAGE = 100


class Feed:
    """Operations on the feed of events. The exceptions are those of `Orders`."""

    _order: Transport

    @operation
    def read_events(
        self,
        *,
        after: str | None = None,
        since: datetime | None = None,
        type: EventType | Unknown | None = None,
        order_id: str | None = None,
        wait: int | None = None,
        page_size: int | None = None,
    ) -> Steps[Several[FeedEvent]]:
        """Return the next events of all orders, oldest first.

        If no event follows, the service waits up to `wait` seconds for the next one, at most 10.

        `answer.body["next_cursor"]` of the result is the `after` of the next call: store it together with what you do
        with the events. Without `after`, the feed begins with the oldest event, or with the first one at or after
        `since`. `answer.body["has_more"]` says whether more events may follow at once.
        """
        answer = yield from self._order.get(
            "events",
            after=after,
            since=None if after else paging.query_time(since),
            type=type,
            order_id=order_id,
            wait=wait,
            limit=page_size,
        )
        return read_all(FeedEvent, answer)

    @listing
    def events(
        self,
        *,
        after: str | None = None,
        since: datetime | None = None,
        type: EventType | Unknown | None = None,
        order_id: str | None = None,
        follow: bool = False,
        page_size: int | None = None,
    ) -> Listing[FeedEvent]:
        """Iterate over the events of all orders, oldest first, from the position `after`.

        Without `after`, begin with the oldest event, or with the first one at or after `since`. The iterator ends with
        the last event that has happened. With `follow`, it waits for further events instead, without end.

        Store `event.position` after you have acted on an event, and pass it as `after` when you start again: no event
        is missed, and up to a page of events may come a second time, with the same `id`. If a service stays unavailable
        until the deadline, the iterator raises Unavailable; continue with a new one. If the service's database was
        restored to a time before `after`, it raises Conflict with the problem `events-rewound`.

        `page_size` is the number of events per request, at most 100.
        """
        position, early = after, 0
        size = _LARGEST_PAGE if page_size is None else page_size
        while True:
            began = time.monotonic()
            answer = yield from self._order.get(
                "events",
                after=position,
                since=paging.query_time(since) if position is None else None,
                type=type,
                order_id=order_id,
                wait=MAX_WAIT if follow else None,
                # One event at first, so that it has a position of its own.
                limit=1 if position is None else size,
            )
            following, has_more = _next_position(answer, position)
            yield _with_positions(read_all(FeedEvent, answer), position or following, following)
            if not (has_more or follow):
                return
            early = early + 1 if _is_early(answer, has_more, began) else 0
            if early:
                yield Pause(retry.pause(early))
            position = following

    @operation
    def wait_until(
        self, order: Order | str, status: OrderStatus | Iterable[OrderStatus], *, deadline: float | None = None
    ) -> Steps[Order]:
        """Wait until an order has a status, or one of several, and return the order as it was then.

        `order` is an order or its id, and `deadline` is in seconds, by default the client's; the call can take a second
        longer, and two if the service does not respond. It waits for the order's next event in the feed. An order that
        has the status only for a moment is found too, if it gets it after `order` was read.

        Raises StatusNotReached, with the order as it is now, after the deadline, or as soon as the order has another
        status that does not change without a further request: `payment_failed`, `canceled`, `refunded`, `expired`.
        """
        wanted = frozenset([status] if isinstance(status, str) else status)
        seconds = self._order.service.limits.deadline if deadline is None else deadline
        if not 0 <= seconds < float("inf"):
            raise ValueError("deadline is in seconds and must be at least 0 and finite")
        until = time.monotonic() + seconds
        if isinstance(order, str):
            order = read(Order, (yield from self._order.get("orders", order, deadline=max(seconds, _GRACE))))
        position, since, early = None, order.updated_at - _EARLIER, 0
        while order.status not in wanted:
            left = until - time.monotonic()
            if order.status in _SETTLED:
                now = yield from self._order.get("orders", order.id, deadline=max(left, _GRACE))
                if read(Order, now).version == order.version:
                    raise StatusNotReached(order, wanted, "Only a further request changes that.")
            if left <= 0:
                raise StatusNotReached(order, wanted, f"{seconds:g} s have passed.")
            began = time.monotonic()
            answer = yield from self._order.get(
                "events",
                after=position,
                since=paging.query_time(since) if position is None else None,
                order_id=order.id,
                wait=min(MAX_WAIT, math.ceil(left)),
                limit=_LARGEST_PAGE,
                deadline=left + _GRACE,
            )
            position, has_more = _next_position(answer, position)
            order = _first_with(wanted, order, read_all(FeedEvent, answer))
            early = early + 1 if _is_early(answer, has_more, began) else 0
            if early:
                yield Pause(min(retry.pause(early), max(0.0, until - time.monotonic())))
        return order


def _first_with(wanted: frozenset[str], order: Order, events: Iterable[FeedEvent]) -> Order:
    """Return the order as it was after the first of its events that gave it a status in `wanted`, or after the last."""
    for event in events:
        if event.version > order.version:
            order = event.order
            if order.status in wanted:
                break
    return order


def _next_position(answer: Answer, before: str | None) -> tuple[str, bool]:
    """Return the position behind a page, and whether more events may follow at once. `before` is the one before it."""
    position, has_more, data = (answer.body.get(name) for name in ("next_cursor", "has_more", "data"))
    if not isinstance(position, str) or not isinstance(has_more, bool):
        reason = "The response is not a page of events: next_cursor or has_more is missing."
    elif position == before and (has_more or data):
        reason = "The events cannot be continued: the page ends at the same position as the one before it."
    else:
        return position, has_more
    raise UnexpectedAnswer(reason, status=answer.status, body=answer.body, request_id=answer.request_id)


def _is_early(answer: Answer, has_more: bool, began: float) -> bool:
    """Return whether an empty page came at once although it was to wait: too many requests wait there already."""
    return not has_more and not answer.body["data"] and time.monotonic() - began < 1


def _with_positions(page: Several[FeedEvent], before: str, following: str) -> Several[FeedEvent]:
    """Return a page whose last event has the position behind it, and the others the one before the page."""
    last = len(page) - 1
    events = Several(replace(event, position=following if n == last else before) for n, event in enumerate(page))
    events.answer = page.answer
    return events
