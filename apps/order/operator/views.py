"""What an operator sees: the newest orders, one order's journey, what is pending, dead letters, the ledger, faults."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from chassis.auth.keyring import is_merchant
from chassis.http import paging
from chassis.messaging.remote import Refused, Unreachable
from chassis.server import admin
from chassis.telemetry import metrics
from order import store as orders
from order.config import Settings
from order.model import Status
from order.operator import actions, model, service, store
from order.operator.application import PATH, create, parts, wsgi
from order.webhooks import store as webhooks

PAGE = 25
"""Orders or other rows of a list that one page has."""
MERCHANTS = 10
"""Merchants whose trial balances one page has."""
DEAD = 100
"""Dead letters that one page has: the oldest."""

DONE = {
    "hurried": "It is due now: the relay tries again at once.",
    "not-waiting": "It does not wait any more: it has been delivered, or is being delivered now.",
    "redelivered": "Delivering again.",
    "not-dead": "Nothing to do: it is not dead any more, or its endpoint is disabled.",
    "switched": "The simulator has been told.",
}


def application(settings: Settings) -> admin.Application:
    """The operator's page for the admin port. It connects to nothing until somebody asks for it."""
    app = create(settings)
    app.add_url_rule(PATH, "overview", overview, strict_slashes=False)
    app.add_url_rule(f"{PATH}/orders/<uuid:order_id>", "order", order)
    app.add_url_rule(f"{PATH}/pending", "pending", pending)
    app.add_url_rule(f"{PATH}/dead-letters", "dead_letters", dead_letters)
    app.add_url_rule(f"{PATH}/ledger", "ledger", ledger)
    app.add_url_rule(f"{PATH}/provider", "provider", provider)
    actions.register(app)
    app.context_processor(lambda: {"done": DONE.get(request.args.get("done", ""))})
    return wsgi(app)


def overview() -> str | Response:
    """How things are, and the newest orders."""
    wanted = {name: request.args.get(name, "").strip() for name in ("merchant", "status", "order")}
    problem = _wrong(wanted)
    if wanted["order"] and problem is None:
        merchant = wanted["merchant"] or None
        return redirect(url_for("order", order_id=UUID(wanted["order"]), merchant=merchant), 303)
    session = parts().database.session()
    cursor = request.args.get("cursor")
    statuses = [wanted["status"]] if wanted["status"] else list(Status)
    after = paging.after_moment(cursor)
    rows = [] if problem else store.newest(session, wanted["merchant"] or None, statuses, after, PAGE)
    return render_template(
        "overview.html",
        rows=rows[:PAGE],
        next_cursor=paging.cursor_of(rows[PAGE - 1]) if len(rows) > PAGE else None,
        cursor=cursor,
        wanted=wanted,
        problem=problem,
        statuses=list(Status),
        today=store.today(session, list(Status)),
        most=metrics.COUNT_LIMIT,
        waiting={row["status"]: row for row in orders.waiting(session)},
        refunds=orders.refunds_waiting(session),
        topics=store.topics(session),
        backlog=webhooks.backlog(session),
        payment=_payment(),
    )


def _payment() -> dict[str, Any]:
    """Whether payment can serve, what it says, and whether this pod's breaker is open."""
    ready, said = parts().payments.readiness()
    return {"ready": ready, "said": said, "broken": metrics.is_breaker_open("payment")}


def _wrong(wanted: dict[str, str]) -> str | None:
    """What is wrong with what somebody has typed, if anything is."""
    if wanted["merchant"] and not is_merchant(wanted["merchant"]):
        return "No merchant can have this name."
    if wanted["status"] and wanted["status"] not in list(Status):
        return "There is no such status."
    if wanted["order"]:
        try:
            UUID(wanted["order"])
        except ValueError:
            return "An order's id is a UUID, such as 0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70."
    return None


def order(order_id: UUID) -> str | Response:
    """One order, and its journey."""
    session = parts().database.session()
    merchant = request.args.get("merchant", "")
    if not is_merchant(merchant):
        found = store.by_id(session, str(order_id))
        if len(found) > 1:
            return render_template("choose.html", rows=found, order_id=order_id)
        if not found:
            raise NotFound("No merchant has an order with this id.")
        merchant = found[0]["merchant"]
    row = store.order(session, merchant, str(order_id))
    if row is None:
        raise NotFound(f"The merchant {merchant} has no order with this id.")
    refresh = request.args.get("refresh") == "5"
    journey = service.journey(session, parts().payments, row)
    return render_template(
        "order.html", order=row, journey=journey, refresh=refresh, parties=service.PARTIES, waits=journey.waits
    )


def pending() -> str:
    """What waits for something, and since when."""
    session = parts().database.session()
    return render_template(
        "pending.html",
        waiting=orders.waiting(session),
        longest=store.waiting_longest(session, PAGE),
        refunds=orders.refunds_waiting(session),
        oldest_refunds=store.refunds_pending(session, PAGE),
        topics=store.topics(session),
        rows=store.undelivered(session, PAGE),
        backlog=webhooks.backlog(session),
        oldest_webhook=webhooks.oldest_seconds(session),
        endpoints=store.webhooks_pending(session, PAGE),
        payment=_payment(),
        refresh=request.args.get("refresh") == "5",
    )


def dead_letters() -> str:
    """What nobody tries any more, and what is tried in vain."""
    dead = parts().webhooks.dead(None, DEAD + 1)
    return render_template(
        "dead_letters.html",
        dead=dead[:DEAD],
        more=len(dead) > DEAD,
        rows=store.undelivered(parts().database.session(), PAGE, failing=True),
    )


def ledger() -> str:
    """Payment's trial balance, merchant by merchant: debits and credits of a currency are equal."""
    wanted = request.args.get("merchant", "").strip()
    problem = "No merchant can have this name." if wanted and not is_merchant(wanted) else None
    after = request.args.get("after", "")
    if wanted or problem:
        names = [] if problem else [wanted]
    else:
        names = store.merchants(parts().database.session(), after if is_merchant(after) else "", MERCHANTS + 1)
    found, missing = parts().payments.balances(names[:MERCHANTS])
    return render_template(
        "ledger.html",
        found=found,
        differences={merchant: model.imbalances(accounts) for merchant, accounts in found.items()},
        missing=missing,
        unknown=names[len(found) : MERCHANTS],
        wanted=wanted,
        problem=problem,
        next_after=names[MERCHANTS - 1] if len(names) > MERCHANTS else None,
    )


def provider() -> str | Response:
    """The simulator's switches, if the provider is the simulator."""
    faults: dict[str, Any] | None = None
    missing = None
    try:
        faults = parts().payments.faults()
    except (Unreachable, Refused) as error:
        missing = str(error)
    return render_template("provider.html", faults=faults, missing=missing)
