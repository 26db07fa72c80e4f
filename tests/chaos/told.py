"""Invariant 16: what callers were told never goes backwards, and every 202 comes to an end that they can see."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos.facts import Facts, Key
from tests.chaos.log import Request

NEVER_LESS = {
    "order": ("version", "paid_amount", "refunded_amount"),
    "payment": ("version", "authorized_amount", "captured_amount", "refunded_amount"),
}
"""The fields of a response that never go backwards."""

UNDER_WAY = ("pending_payment", "canceling")


def told(facts: Facts) -> Iterator[str | None]:
    """Check what callers were told over time, and what became of the requests that were answered before their end."""
    seen: dict[tuple[str, Key], list[Request]] = defaultdict(list)
    for request in facts.log.requests:
        if request.succeeded and request.received is not None and request.answer and "version" in request.answer:
            what = "payment" if "captured_amount" in request.answer else "order"
            seen[what, (request.merchant, request.answer["id"])].append(request)
    for (what, key), requests in seen.items():
        for name in NEVER_LESS[what]:
            yield from _forwards(f"{what} {key[1]}", name, requests)
    for (merchant, order_id), requests in _orders_only(seen).items():
        yield from _final(facts, merchant, order_id, requests)
    yield from _refunds(facts)


def _orders_only(seen: dict[tuple[str, Key], list[Request]]) -> dict[Key, list[Request]]:
    return {key: requests for (what, key), requests in seen.items() if what == "order"}


def _forwards(what: str, name: str, requests: list[Request]) -> Iterator[str | None]:
    """Compare each response with those that were received before its request was sent: no value may be smaller.

    So a read shows every write that was acknowledged before it, also those of other callers.
    """
    received = sorted((r.received or 0.0, _value(r, name)) for r in requests)
    times = [time for time, _ in received]
    highest = [0]
    for _, value in received:
        highest.append(max(highest[-1], value))
    for request in requests:
        known = highest[bisect.bisect_left(times, request.sent)]
        value = _value(request, name)
        yield None if value >= known else f"{what}: {name} was {known} and then {value} ({request.kind})"


def _value(request: Request, name: str) -> int:
    assert request.answer is not None
    return int(request.answer[name])


def _final(facts: Facts, merchant: str, order_id: str, requests: list[Request]) -> Iterator[str | None]:
    """Check that an order is not behind what was told of it, and that each 202 has ended."""
    answer = facts.clients[merchant][0].get(f"/v1/orders/{order_id}")
    if answer.status_code != 200:
        yield f"order {order_id} was told of and is {answer.status_code}"
        return
    now = answer.json()
    for name in NEVER_LESS["order"]:
        known = max(_value(request, name) for request in requests)
        yield None if now[name] >= known else f"order {order_id}: {name} was {known} and is {now[name]}"
    for request in requests:
        if request.status == 202:
            yield _ended(facts, (merchant, order_id), now, request)


def _ended(facts: Facts, order: Key, now: dict[str, Any], request: Request) -> str | None:
    """Check that the caller of a request that was answered with 202 can see what became of it.

    It is done if the order has left the status that the caller was told. Otherwise the order or its history says why.
    """
    assert request.answer is not None
    if now["status"] in UNDER_WAY:
        return f"order {order[1]}: {request.kind} was answered with 202, and the order is still {now['status']}"
    closed = ("paid", "refunded", "canceled", "expired")
    wanted = {"cancel": ("canceled",), "capture": closed, "release": closed}
    kind = request.kind.removesuffix(" again")
    if kind == "capture" and now["paid_amount"] > request.answer["paid_amount"]:
        return None
    if now["status"] in wanted.get(kind, (now["status"],)) or now.get("last_error"):
        return None
    reasons = [
        event
        for event in facts.events.get(order, [])
        if event["version"] > request.answer["version"] and event["data"].get("failure_reason")
    ]
    moved_on = now["status"] in ("refunded", "expired")
    if reasons or moved_on:
        return None
    return f"order {order[1]}: {kind} was answered with 202, the order is {now['status']}, and nothing says why"


def _refunds(facts: Facts) -> Iterator[str | None]:
    """Check that every acknowledged refund is listed, has its amount, has ended, and says why if it failed."""
    listed: dict[Key, dict[str, Any]] = {}
    requests = facts.log.acknowledged("refund", "refund again")
    for key in {(request.merchant, request.order_id or "") for request in requests}:
        answer = facts.clients[key[0]][0].get(f"/v1/orders/{key[1]}/refunds?limit=100")
        for refund in answer.json().get("data", []):  # a lost order has none
            listed[key[0], refund["id"]] = refund
    for request in requests:
        told = request.answer or {}
        now = listed.get((request.merchant, told["id"]))
        if now is None or now["amount"] != told["amount"]:
            yield f"refund {told['id']} of {told['amount']} was acknowledged, and is {now}"
        elif now["status"] == "pending" or told["status"] not in ("pending", now["status"]):
            yield f"refund {told['id']} was {told['status']} and is {now['status']}"
        else:
            unexplained = now["status"] == "failed" and not now["failure_reason"]
            yield f"refund {told['id']} has failed, and nothing says why" if unexplained else None
