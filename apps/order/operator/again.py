"""The operator's actions that send something again: a waiting command, a webhook, all webhooks of an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.if_match import ANY
from chassis.http.problems import Problem
from chassis.messaging import outbox
from order.operator import forms, offers, records
from order.operator.access import SEND_AGAIN
from order.operator.application import PATH, resources
from order.operator.forms import Form


def register(app: Flask) -> None:
    """Add the view."""
    name = f"<any({', '.join(offers.RETRIES)}):name>"
    app.add_url_rule(f"{PATH}/again/{name}", SEND_AGAIN, send_again, methods=["GET", "POST"])


def send_again(name: str) -> Response:
    """Show the form to send a command, redeliver a webhook or enable an endpoint; then do it."""
    merchant = forms.merchant_of_request()
    target = forms.uuid_of_request("target")
    if name == offers.SEND:
        found = _command(merchant, target)
    elif name == offers.REDELIVER:
        found = _delivery(merchant, target, forms.uuid_of_request("endpoint_id"))
    else:
        found = _endpoint(merchant, target)
    if request.method != "POST":
        return found.form.show(confirms=True)
    _, reason, errors = forms.read_fields(found.form, "")
    if errors:
        return found.form.show(confirms=True, status=422, errors=errors)
    action = forms.new_action(name, merchant, found.order_id, target=target, reason=reason)
    return forms.act_once(found.form, action, ANY, found.act)


@dataclass(frozen=True, slots=True)
class Again:
    """Something that can be sent again: the form, what its confirmation does, and the order it concerns, if any."""

    form: Form
    act: Callable[[Claim], object]
    order_id: str | None


def _command(merchant: str, message_id: str) -> Again:
    row = records.command(resources().database.session(), merchant, message_id)
    if row is None:
        raise NotFound("There is no such command. Delivered commands are deleted after a while.")
    failed = f" The last attempt failed: {row['last_error']}" if row["last_error"] else ""
    form = _form_again(
        offers.SEND,
        f"{row['topic']} of order {row['aggregate_id']} of {merchant}, {row['attempts']} attempts",
        f"The command is sent to payment at once, instead of at its next attempt.{failed}",
        url_for("order", order_id=row["aggregate_id"], merchant=merchant),
        {"merchant": merchant, "target": message_id},
    )

    def act(claim: Claim) -> None:
        with idempotency.once(resources().database, claim, message_id, 200) as (session, earlier):
            if earlier is None and not outbox.retry_now(session, merchant, message_id):
                raise Problem("order-state", "The command has been delivered, or is being delivered at the moment.")
        resources().orders.relay.wake()

    return Again(form, act, str(row["aggregate_id"]))


def _delivery(merchant: str, delivery_id: str, endpoint_id: str) -> Again:
    row = records.delivery(resources().database.session(), merchant, endpoint_id, delivery_id)
    if row is None:
        raise NotFound("There is no such webhook. Settled webhooks are deleted after a while.")
    order_id = str(row["order_id"]) if row["order_id"] else None
    form = _form_again(
        offers.REDELIVER,
        f"{row['type']} of {merchant}, {row['status']} after {row['attempts']} attempts",
        f"The event is sent to {row['url']} again, with the same webhook-id.",
        _back(merchant, endpoint_id, order_id),
        {"merchant": merchant, "target": delivery_id, "endpoint_id": endpoint_id},
    )
    return Again(form, lambda claim: resources().webhooks.redeliver(claim, endpoint_id, delivery_id), order_id)


def _endpoint(merchant: str, endpoint_id: str) -> Again:
    endpoint = resources().webhooks.get(merchant, endpoint_id)
    given = request.values.get("order")
    order_id = forms.uuid_of_request("order") if given else None
    form = _form_again(
        offers.ENABLE,
        f"Endpoint {endpoint_id} of {merchant}, {endpoint['status']}",
        f"Events are sent to {endpoint['url']} again: those that waited, and those that happened meanwhile.",
        _back(merchant, endpoint_id, order_id),
        {"merchant": merchant, "target": endpoint_id, **({"order": order_id} if order_id else {})},
    )
    return Again(form, lambda claim: resources().webhooks.enable(claim, endpoint_id), order_id)


def _form_again(name: str, subject: str, consequence: str, back: str, fields: dict[str, str]) -> Form:
    sentences = [consequence, "No money moves that was not requested before."]
    return Form(
        name, subject, sentences, back, {**fields, "key": forms.form_key()}, reason=request.form.get("reason", "")
    )


def _back(merchant: str, endpoint_id: str, order_id: str | None) -> str:
    if order_id is not None:
        return url_for("order", order_id=order_id, merchant=merchant)
    return url_for("endpoint", endpoint_id=endpoint_id, merchant=merchant)
