"""The operator's actions that change an order: refund, capture, release and cancel."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import UUID

from flask import Flask, g, request, url_for
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response

from chassis.http.idempotency import Claim
from chassis.http.if_match import Condition
from order.model import Order
from order.operator import formatting, forms, offers
from order.operator.access import CHANGE_ORDER
from order.operator.application import PATH, resources
from order.operator.forms import Form
from order.store import steps
from order.transition import Capture, Release

_VERSION = re.compile(r"[0-9]{1,18}")


def register(app: Flask) -> None:
    """Add the view."""
    name = f"<any({', '.join(offers.MONEY)}):name>"
    app.add_url_rule(f"{PATH}/orders/<uuid:order_id>/{name}", CHANGE_ORDER, change_order, methods=["GET", "POST"])


def change_order(order_id: UUID, name: str) -> Response:
    """Show the form to refund, capture, release or cancel an order; then its confirmation; then do it."""
    merchant = forms.merchant_of_request()
    session = resources().database.session()
    order = steps.read(session, merchant, str(order_id))
    if order is None:
        raise NotFound(f"The merchant {merchant} has no order with this id.")
    form = _form_of_order(merchant, order, name)
    if request.method != "POST":
        refused = offers.why_not(name, order)
        if refused is not None:
            return forms.problem_page(refused.problem, refused.detail, form.back)
        return form.show(confirms=not form.asks_amount)
    amount, reason, errors = forms.read_fields(form, order.currency)
    if errors:
        return replace(form, consequences=[]).show(confirms=not form.asks_amount, status=422, errors=errors)
    if request.form.get("confirmed") != "yes":
        refused = offers.why_not(name, order, amount)
        if refused is not None:
            return forms.problem_page(refused.problem, refused.detail, form.back)
        return replace(form, consequences=list(offers.consequences(name, order, amount))).show(confirms=True)
    # A cancel returns all that is left. The version makes sure that it is what the operator has seen.
    moves = {offers.CANCEL: order.refundable_amount, offers.RELEASE: 0}.get(name, amount)
    action = forms.new_action(name, merchant, order.id, amount=moves, currency=order.currency, reason=reason)
    orders, headers = resources().orders, {"X-Request-Id": g.request_id}

    def act(claim: Claim) -> None:
        if name == offers.REFUND:
            orders.refund(claim, order.id, {"amount": amount, "reason": reason, "metadata": {}}, headers, 0)
        elif name in (offers.CAPTURE, offers.CAPTURE_PART):
            orders.capture(claim, order.id, Capture(amount, final=name == offers.CAPTURE), headers, 0)
        elif name == offers.RELEASE:
            orders.capture(claim, order.id, Release(), headers, 0)
        else:
            orders.cancel(claim, order.id, headers, 0)

    return forms.act_once(form, action, Condition(frozenset({form.fields["version"]})), act)


def _form_of_order(merchant: str, order: Order, name: str) -> Form:
    largest = offers.largest_amount(name, order)
    total = formatting.amount(order.total_amount, order.currency)
    default = "" if largest is None else formatting.plain_amount(largest, order.currency)
    return Form(
        name,
        f"Order {order.id} of {merchant}, {total}, {order.status.replace('_', ' ')}",
        [] if largest is not None else list(offers.consequences(name, order, None)),
        url_for("order", order_id=order.id, merchant=merchant),
        {"merchant": merchant, "key": forms.form_key(), "version": _version(order)},
        asks_amount=largest is not None,
        currency=order.currency,
        amount=request.form.get("amount", default).strip()[:24],
        reason=request.form.get("reason", ""),
    )


def _version(order: Order) -> str:
    """Return the version of the order that the operator has seen. Raises BadRequest if the form names none."""
    if request.method != "POST":
        return str(order.version)
    version = request.form.get("version", "")
    if not _VERSION.fullmatch(version):
        raise BadRequest("The form has no valid version.")
    return version
