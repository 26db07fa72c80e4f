"""The operator's pages about one thing: an order with its journey, a webhook endpoint; and the audit."""

from __future__ import annotations

import json
from uuid import UUID

from flask import Flask, g, render_template, request, url_for
from werkzeug.exceptions import NotFound

from chassis.auth.keyring import is_merchant
from chassis.postgres.database import Row, Session
from order.operator import audit, offers, records, service, store
from order.operator.application import PATH, resources
from order.store import steps

PAGE_SIZE = 25
"""Rows per list on a page."""

INVALID_MERCHANT = "This is not a valid merchant name."

ACTION_NAMES = {
    **offers.LABELS,
    "redeliver_all": "Redeliver all dead webhooks",
    "switch_faults": "Set the simulator's faults",
}
"""What the audit calls the actions."""


def register(app: Flask) -> None:
    """Add the views."""
    app.add_url_rule(f"{PATH}/orders/<uuid:order_id>", "order", order)
    app.add_url_rule(f"{PATH}/endpoints/<uuid:endpoint_id>", "endpoint", endpoint)
    app.add_url_rule(f"{PATH}/audit", "audit", audit_list)


def order(order_id: UUID) -> str:
    """Show one order and its journey, or a choice if several merchants have an order with this id."""
    session = resources().database.session()
    merchant = request.args.get("merchant", "")
    if not is_merchant(merchant):
        found = store.by_id(session, str(order_id))
        if len(found) > 1:
            return render_template("choose_merchant.html", rows=found, order_id=order_id)
        if not found:
            raise NotFound("No merchant has an order with this id.")
        merchant = found[0]["merchant"]
    row = records.order(session, merchant, str(order_id))
    if row is None:
        raise NotFound(f"The merchant {merchant} has no order with this id.")
    refresh = request.args.get("refresh") == "5"
    journey = service.journey(session, resources().payments, row)
    return render_template(
        "order.html",
        order=row,
        journey=journey,
        refresh=refresh,
        party_names=service.PARTY_NAMES,
        waiting_for=journey.waiting_for,
        offered=_offered(session, row, journey),
        actions=audit.of_order(session, merchant, str(order_id), PAGE_SIZE),
        action_names=ACTION_NAMES,
    )


def _offered(session: Session, order: Row, journey: service.Journey) -> list[tuple[str, str]]:
    """Return the buttons of an order's page, as far as this operator may use them: label and address."""
    merchant, order_id = order["merchant"], str(order["id"])
    found: list[tuple[str, str]] = []
    changeable = steps.read(session, merchant, order_id) if g.operator.may_change_orders else None
    for name in offers.allowed(changeable) if changeable is not None else ():
        address = url_for("change_order", order_id=order_id, name=name, merchant=merchant)
        found.append((offers.LABELS[name] if name == offers.CANCEL else f"{offers.LABELS[name]} …", address))
    if not g.operator.may_act:
        return found
    if journey.next_command is not None:
        target = journey.next_command["id"]
        address = url_for("send_again", name=offers.SEND, merchant=merchant, target=target)
        found.append((f"Send {journey.next_command['topic']} now", address))
    for row in journey.dead_deliveries:
        address = url_for(
            "send_again",
            name=offers.REDELIVER,
            merchant=merchant,
            target=row["id"],
            endpoint_id=row["endpoint_id"],
        )
        found.append((f"Redeliver {row['type']} to {row['url']}", address))
    for endpoint_id in journey.disabled_endpoints:
        address = url_for("send_again", name=offers.ENABLE, merchant=merchant, target=endpoint_id, order=order_id)
        found.append((f"Enable endpoint {endpoint_id}", address))
    return found


def endpoint(endpoint_id: UUID) -> str:
    """Show a webhook endpoint and the newest webhooks to it."""
    merchant = request.args.get("merchant", "")
    if not is_merchant(merchant):
        raise NotFound("The address names no merchant.")
    session = resources().database.session()
    view = resources().webhooks.get(merchant, str(endpoint_id))
    return render_template(
        "endpoint.html",
        endpoint=json.loads(view["body"]),
        merchant=merchant,
        counts=records.endpoint_counts(session, merchant, str(endpoint_id)),
        rows=records.endpoint_deliveries(session, merchant, str(endpoint_id), PAGE_SIZE),
    )


def audit_list() -> str:
    """Show what operators have done, newest first."""
    merchant, before = request.args.get("merchant", "").strip(), request.args.get("before", "")
    error = INVALID_MERCHANT if merchant and not is_merchant(merchant) else None
    try:
        last = str(UUID(before)) if before else None
    except ValueError as invalid:
        raise NotFound("There is no such page of the audit.") from invalid
    session = resources().database.session()
    rows = [] if error else audit.newest(session, merchant or None, last, PAGE_SIZE + 1)
    return render_template(
        "audit.html",
        rows=rows[:PAGE_SIZE],
        next_before=rows[PAGE_SIZE - 1]["id"] if len(rows) > PAGE_SIZE else None,
        before=before,
        merchant=merchant,
        error=error,
        action_names=ACTION_NAMES,
    )
