"""The operator's pages: orders, one order's journey, pending work, dead letters, the trial balance, faults."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from chassis.auth.keyring import is_merchant
from chassis.http import paging
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import Row, Session
from chassis.server import admin
from chassis.telemetry import metrics
from order.config import Settings
from order.gateway import PaymentGateway
from order.model import Status
from order.operator import access, actions, again, details, model, offers, order_actions, store
from order.operator.application import PATH, create, resources, wsgi
from order.operator.details import INVALID_MERCHANT, PAGE_SIZE
from order.publisher import store as publisher
from order.store import orphans, waiting
from order.webhooks import store as webhooks

MERCHANTS_PER_PAGE = 10
"""Trial balances on a page."""
MAX_DEAD_LETTERS = 100
"""Dead letters on the page: the oldest."""

MAX_CODE = 100
"""The most characters of a customer or a reference, as in schemas.ListOrders."""

MESSAGES = {
    "retried": "Retry requested. The command is due now.",
    "not-waiting": "Nothing changed: the command has been delivered or is being delivered.",
    "redelivered": "Redelivery requested.",
    "not-dead": "Nothing changed: the webhook is no longer dead, or its endpoint is disabled.",
    "switched": "Faults changed.",
    offers.REFUND: "Refund requested.",
    offers.CAPTURE: "Capture requested.",
    offers.CAPTURE_PART: "Capture requested.",
    offers.RELEASE: "Release requested.",
    offers.CANCEL: "Cancellation requested.",
    offers.SEND: "Retry requested. The command is due now.",
    offers.REDELIVER: "Redelivery requested.",
    offers.ENABLE: "The endpoint is enabled.",
}
"""What a page says after an action, by its name in `access.redirect_with`."""


def application(settings: Settings, gateway: PaymentGateway) -> admin.Application:
    """Return the operator's page as an application for the admin port. Connects only when needed."""
    app = create(settings, gateway)
    app.add_url_rule(PATH, "overview", overview, strict_slashes=False)
    app.add_url_rule(f"{PATH}/pending", "pending", pending)
    app.add_url_rule(f"{PATH}/dead-letters", "dead_letters", dead_letters)
    app.add_url_rule(f"{PATH}/ledger", "ledger", ledger)
    app.add_url_rule(f"{PATH}/provider", "provider", provider)
    for module in (details, actions, order_actions, again):
        module.register(app)
    app.context_processor(lambda: {"done": MESSAGES.get(access.message() or "")})
    return wsgi(app, settings.trusted_proxies)


def overview() -> str | Response:
    """Show the current state of both services and the newest orders, or redirect to the order with a given id."""
    filters = {
        name: request.args.get(name, "").strip() for name in ("merchant", "status", "customer", "reference", "order")
    }
    error = _filter_error(filters)
    if filters["order"] and error is None:
        merchant = filters["merchant"] or None
        return redirect(url_for("order", order_id=UUID(filters["order"]), merchant=merchant), 303)
    session = resources().database.session()
    cursor = request.args.get("cursor")
    statuses = [filters["status"]] if filters["status"] else list(Status)
    after = paging.after_moment(cursor)
    rows = [] if error else _orders(session, filters, statuses, after)
    return render_template(
        "overview.html",
        rows=rows[:PAGE_SIZE],
        next_cursor=paging.cursor_of(rows[PAGE_SIZE - 1]) if len(rows) > PAGE_SIZE else None,
        cursor=cursor,
        filters=filters,
        error=error,
        statuses=list(Status),
        last_day=store.placed_in_last_day(session, list(Status)),
        count_limit=metrics.COUNT_LIMIT,
        waiting={row["status"]: row for row in waiting.by_status(session)},
        refunds=waiting.refunds(session),
        orphan_count=orphans.count(session),
        topics=store.topics(session),
        backlog=webhooks.backlog(session),
        payment=_payment(),
    )


def _orders(
    session: Session, filters: dict[str, str], statuses: Sequence[str], after: tuple[datetime, str] | None
) -> list[Row]:
    merchant = filters["merchant"] or None
    if filters["customer"] or filters["reference"]:
        return store.filtered(session, filters, merchant, statuses, after, PAGE_SIZE)
    return store.newest(session, merchant, statuses, after, PAGE_SIZE)


def _payment() -> dict[str, Any]:
    """Return payment's readiness, the detail or error, and whether this pod's circuit breaker is open."""
    ready, detail = resources().payments.readiness()
    return {"ready": ready, "detail": detail, "breaker_open": metrics.is_breaker_open("payment")}


def _filter_error(filters: dict[str, str]) -> str | None:
    """Return why a filter is not valid, or None if all are."""
    if filters["merchant"] and not is_merchant(filters["merchant"]):
        return INVALID_MERCHANT
    if filters["status"] and filters["status"] not in list(Status):
        return "Unknown status."
    for name in ("customer", "reference"):
        if len(filters[name]) > MAX_CODE or "\0" in filters[name]:
            return f"A {name} has up to {MAX_CODE} characters."
    if filters["order"]:
        try:
            UUID(filters["order"])
        except ValueError:
            return "An order id is a UUID, such as 0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70."
    return None


def pending() -> str:
    """Show the work in progress of both services, with its age."""
    session = resources().database.session()
    return render_template(
        "pending.html",
        waiting=waiting.by_status(session),
        longest=store.waiting_longest(session, PAGE_SIZE),
        refunds=waiting.refunds(session),
        orphan_count=orphans.count(session),
        orphans=orphans.find(session, PAGE_SIZE),
        oldest_refunds=store.refunds_pending(session, PAGE_SIZE),
        topics=store.topics(session),
        rows=store.undelivered(session, PAGE_SIZE),
        backlog=webhooks.backlog(session),
        oldest_webhook=webhooks.oldest_seconds(session),
        endpoints=store.webhooks_pending(session, PAGE_SIZE),
        broker=publisher.status(session),
        payment=_payment(),
        feed=store.newest_event(session),
        refresh=request.args.get("refresh") == "5",
    )


def dead_letters() -> str:
    """Show dead webhooks, and commands to payment whose last attempt failed."""
    dead = resources().webhooks.dead(None, MAX_DEAD_LETTERS + 1)
    return render_template(
        "dead_letters.html",
        dead=dead[:MAX_DEAD_LETTERS],
        more=len(dead) > MAX_DEAD_LETTERS,
        rows=store.undelivered(resources().database.session(), PAGE_SIZE, failing=True),
    )


def ledger() -> str:
    """Show payment's trial balance of each merchant, and whether debits and credits are equal in each currency."""
    merchant = request.args.get("merchant", "").strip()
    error = INVALID_MERCHANT if merchant and not is_merchant(merchant) else None
    after = request.args.get("after", "")
    if merchant:
        names = [] if error else [merchant]
    else:
        start = after if is_merchant(after) else ""
        names = store.merchants(resources().database.session(), start, MERCHANTS_PER_PAGE + 1)
    balances, missing = resources().payments.balances(names[:MERCHANTS_PER_PAGE])
    return render_template(
        "ledger.html",
        balances=balances,
        imbalances={name: model.imbalances(accounts) for name, accounts in balances.items()},
        missing=missing,
        missing_merchants=names[len(balances) : MERCHANTS_PER_PAGE],
        merchant=merchant,
        error=error,
        next_after=names[MERCHANTS_PER_PAGE - 1] if len(names) > MERCHANTS_PER_PAGE else None,
    )


def provider() -> str | Response:
    """Show the simulator's faults, and the form to change them. Another provider has none."""
    faults: dict[str, Any] | None = None
    missing = None
    try:
        faults = resources().payments.faults()
    except (Unreachable, Refused) as error:
        missing = str(error)
    return render_template("provider.html", faults=faults, missing=missing)
