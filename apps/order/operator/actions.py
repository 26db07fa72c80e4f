"""What an operator can do: sign in and out, and what commands do, each the same use case in one transaction."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from flask import Flask, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from chassis.http.problems import Problem
from chassis.messaging import outbox
from chassis.messaging.remote import Refused, Unreachable
from chassis.telemetry import logs
from order.operator import gate
from order.operator.application import PATH, message, parts

log = logs.get_logger()

NUMBERS = ("delay_ms", "lost_requests_percent", "lost_answers_percent")
"""The simulator's switches that are numbers; `decline` is on or off."""


def register(app: Flask) -> None:
    """Add the views."""
    app.add_url_rule(f"{PATH}/sign-in", "sign_in", sign_in)
    app.add_url_rule(f"{PATH}/sign-in", "present_key", present_key, methods=["POST"])
    app.add_url_rule(f"{PATH}/sign-out", "sign_out", sign_out, methods=["POST"])
    app.add_url_rule(f"{PATH}/outbox/<uuid:message_id>/retry", "retry", retry, methods=["POST"])
    app.add_url_rule(f"{PATH}/dead-letters", "redeliver", redeliver, methods=["POST"])
    app.add_url_rule(f"{PATH}/provider", "switch_faults", switch_faults, methods=["POST"])


def sign_in() -> str | AnyResponse:
    """The form that takes a key."""
    if g.operator is not None:
        return redirect(url_for("overview"), 303)
    return render_template("sign_in.html", wanted=request.args.get("wanted", ""), refused=None)


def present_key() -> AnyResponse:
    """Begin a session for the bearer of a key, and forget the one that was there."""
    wanted, key = request.form.get("wanted", ""), request.form.get("key", "").strip()
    try:
        begun = parts().sessions.begin(key)
    except Problem as problem:
        if problem.name != "unauthorized":
            raise
        log.warning("operator_refused", address=request.remote_addr, reason="unknown key")
        return _refused(wanted, "This key is not known.", 401)
    if begun is None:
        log.warning("operator_refused", address=request.remote_addr, reason="lacks operator:read")
        return _refused(wanted, "This key lacks the scope operator:read.", 403)
    token, operator = begun
    parts().sessions.end(g.token)
    log.info("operator_signed_in", who=operator.who, address=request.remote_addr)
    response = make_response(redirect(gate.destination(wanted, PATH), 303))
    gate.keep(response, token, PATH)
    g.fresh = False
    return response


def _refused(wanted: str, reason: str, status: int) -> Response:
    return make_response(render_template("sign_in.html", wanted=wanted, refused=reason), status)


def sign_out() -> AnyResponse:
    """End the session, here and in the database."""
    parts().sessions.end(g.token)
    log.info("operator_signed_out", who=g.operator.who)
    response = redirect(url_for("sign_in"), 303)
    response.delete_cookie(gate.COOKIE, path=PATH)
    return response


def retry(message_id: UUID) -> AnyResponse:
    """Let a row of the outbox that waits for its next attempt be due now."""
    session = parts().database.session()
    hurried = outbox.retry_now(session, str(message_id))
    session.execute(f"NOTIFY {outbox.CHANNEL}".encode())
    _say("retry", message_id=str(message_id), hurried=hurried)
    return _back("dead_letters", "hurried" if hurried else "not-waiting")


def redeliver() -> AnyResponse:
    """Deliver one dead webhook again, or all whose endpoints are enabled."""
    everything = request.form.get("all") == "yes"
    delivery, endpoint = (None, None) if everything else (_id("delivery"), _id("endpoint"))
    count = parts().webhooks.redeliver_dead(None, delivery, endpoint)
    _say("redeliver", delivery_id=delivery, endpoint_id=endpoint, count=count)
    return _back("dead_letters", "redelivered" if count else "not-dead")


def switch_faults() -> AnyResponse:
    """Tell the simulator which faults to have."""
    wanted: dict[str, Any] = {"decline": request.form.get("decline") == "on"}
    for name in NUMBERS:
        given = request.form.get(name, "").strip() or "0"
        if not re.fullmatch(r"[0-9]{1,5}", given):
            raise BadRequest(f"{name} is not a whole number.")
        wanted[name] = int(given)
    if request.form.get("off") == "yes":
        wanted = {"decline": False, **dict.fromkeys(NUMBERS, 0)}
    try:
        parts().payments.set_faults(wanted)
    except Unreachable as error:
        return message("Payment does not answer", f"It is not known whether the faults are switched: {error}", 503)
    except Refused as error:
        return message("Payment has refused", str(error), 400 if error.problem == "validation" else 502)
    _say("switch_faults", **wanted)
    return _back("provider", "switched")


def _id(name: str) -> str:
    try:
        return str(UUID(request.form.get(name, "")))
    except ValueError as error:
        raise BadRequest(f"The form has no {name}.") from error


def _say(action: str, **about: Any) -> None:
    log.warning("operator_action", action=action, who=g.operator.who, **about)


def _back(view: str, done: str) -> AnyResponse:
    return redirect(url_for(view, done=done), 303)
