"""The operator's actions: sign in and out, retry a command, redeliver webhooks, set the simulator's faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Flask, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from chassis.auth.keyring import is_merchant
from chassis.http.problems import Problem
from chassis.messaging import outbox
from chassis.messaging.remote import Refused, Unreachable
from chassis.telemetry import logs
from order.operator import access, audit, forms, records
from order.operator.application import PATH, message_page, resources

log = logs.get_logger()

_NUMBER = re.compile(r"[0-9]{1,5}")

NUMERIC_FAULTS = ("delay_ms", "lost_requests_percent", "lost_answers_percent")
"""The simulator's faults that are numbers. The remaining one, `decline`, is on or off."""


def register(app: Flask) -> None:
    """Add the views."""
    app.add_url_rule(f"{PATH}/sign-in", "sign_in", sign_in)
    app.add_url_rule(f"{PATH}/sign-in", "submit_key", submit_key, methods=["POST"])
    app.add_url_rule(f"{PATH}/sign-out", "sign_out", sign_out, methods=["POST"])
    app.add_url_rule(f"{PATH}/outbox/<uuid:message_id>/retry", "retry", retry, methods=["POST"])
    app.add_url_rule(f"{PATH}/dead-letters", "redeliver", redeliver, methods=["POST"])
    app.add_url_rule(f"{PATH}/provider", "switch_faults", switch_faults, methods=["POST"])


def sign_in() -> str | AnyResponse:
    """Show the form for the API key."""
    wanted = request.args.get("wanted", "")
    if g.operator is not None:
        return redirect(access.redirect_target(wanted, PATH), 303)
    return render_template("sign_in.html", wanted=wanted, error=None)


def submit_key() -> AnyResponse:
    """Start a session for an API key, and end the browser's previous session."""
    wanted, key = request.form.get("wanted", ""), request.form.get("key", "").strip()
    try:
        begun = resources().sessions.begin(key)
    except Problem as problem:
        if problem.name != "unauthorized":
            raise
        log.warning("operator_refused", address=request.remote_addr, reason="unknown key")
        return _sign_in_error(wanted, "Unknown API key.", 401)
    if begun is None:
        log.warning("operator_refused", address=request.remote_addr, reason="lacks operator:read")
        return _sign_in_error(wanted, "This API key lacks the scope operator:read.", 403)
    token, operator = begun
    resources().sessions.end(g.token)
    log.info("operator_signed_in", who=operator.name, address=request.remote_addr)
    response = make_response(redirect(access.redirect_target(wanted, PATH), 303))
    access.set_cookie(response, token, PATH)
    g.fresh = False  # The response must not replace the cookie by a new token.
    return response


def _sign_in_error(wanted: str, error: str, status: int) -> Response:
    return make_response(render_template("sign_in.html", wanted=wanted, error=error), status)


def sign_out() -> AnyResponse:
    """Delete the session and its cookie."""
    resources().sessions.end(g.token)
    log.info("operator_signed_out", who=g.operator.name)
    response = redirect(url_for("sign_in"), 303)
    response.delete_cookie(access.COOKIE, path=PATH)
    return response


def retry(message_id: UUID) -> AnyResponse:
    """Make an outbox row of the parameter `merchant` that waits for its next attempt due now, and wake the relay."""
    merchant = _merchant(request.args)
    with resources().database.transaction() as session:
        is_due = outbox.retry_now(session, merchant, str(message_id))
        if is_due:
            row = records.command(session, merchant, str(message_id))
            order_id = str(row["aggregate_id"]) if row else None
            action = forms.new_action("send", merchant, order_id, target=str(message_id))
            audit.record(session, action, "done")
    if is_due:
        resources().orders.relay.wake()
        forms.log_action(action, "done")
    return _back("dead_letters", "retried" if is_due else "not-waiting")


def redeliver() -> AnyResponse:
    """Deliver one dead webhook again, or all dead webhooks of enabled endpoints."""
    everything = request.form.get("all") == "yes"
    delivery, endpoint = (None, None) if everything else (_uuid("delivery"), _uuid("endpoint"))
    count = resources().webhooks.redeliver_dead(None, delivery, endpoint)
    if count and everything:
        _record(forms.new_action("redeliver_all", audit.EVERY_MERCHANT), "done", f"{count} webhooks")
    elif count:
        _record(_redelivery(str(delivery), str(endpoint)), "done")
    return _back("dead_letters", "redelivered" if count else "not-dead")


def _redelivery(delivery: str, endpoint: str) -> audit.Action:
    """Return the action for the audit. The form also names the merchant of the endpoint."""
    merchant = _merchant(request.form)
    row = records.delivery(resources().database.session(), merchant, endpoint, delivery)
    if row is None:
        return forms.new_action("redeliver", audit.EVERY_MERCHANT, target=delivery)
    return forms.new_action("redeliver", merchant, str(row["order_id"]) if row["order_id"] else None, target=delivery)


def switch_faults() -> AnyResponse:
    """Replace the simulator's faults."""
    faults: dict[str, Any] = {"decline": request.form.get("decline") == "on"}
    for name in NUMERIC_FAULTS:
        value = request.form.get(name, "").strip() or "0"
        if not _NUMBER.fullmatch(value):
            raise BadRequest(f"{name} is not a whole number from 0 to 99999.")
        faults[name] = int(value)
    if request.form.get("off") == "yes":
        faults = {"decline": False, **dict.fromkeys(NUMERIC_FAULTS, 0)}
    named = ", ".join(f"{name} {value}" for name, value in faults.items())
    action = forms.new_action("switch_faults", audit.EVERY_MERCHANT, target=named)
    try:
        resources().payments.set_faults(faults)
    except Unreachable as error:
        _record(action, "unknown", "payment did not respond")
        text = f"It is not known whether the faults have been changed: {error}"
        return message_page("The payment service does not respond", text, 503)
    except Refused as error:
        _record(action, "refused", error.problem or "")
        status = 400 if error.problem == "validation" else 502
        return message_page("The payment service refused the request", str(error), status)
    _record(action, "done", **faults)
    return _back("provider", "switched")


def _merchant(given: Mapping[str, str]) -> str:
    """Return the merchant that is named, or a name that no merchant has."""
    merchant = given.get("merchant", "")
    return merchant if is_merchant(merchant) else audit.EVERY_MERCHANT


def _uuid(name: str) -> str:
    try:
        return str(UUID(request.form.get(name, "")))
    except ValueError as error:
        raise BadRequest(f"The form has no valid {name} id.") from error


def _record(action: audit.Action, outcome: str, detail: str = "", **logged: Any) -> None:
    audit.record(resources().database.session(), action, outcome, detail)
    forms.log_action(action, outcome, detail, **logged)


def _back(view: str, done: str) -> AnyResponse:
    return access.redirect_with(url_for(view), done)
