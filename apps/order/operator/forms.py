"""Forms of the operator's actions that need a reason and a confirmation.

Each form has an idempotency key from the moment it is first shown, so a form that is sent twice acts once. The action
and its row in the audit commit in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import uuid_utils
from flask import Response, g, make_response, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as AnyResponse

from chassis.auth.keyring import is_merchant
from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.if_match import Condition
from chassis.http.problems import Problem
from chassis.postgres.database import UNAVAILABLE, Session
from chassis.telemetry import logs
from order.operator import access, audit, offers
from order.operator.application import message_page, resources
from order.operator.audit import Action
from order.problems import CATALOGUE

log = logs.get_logger()

TITLES = {
    "precondition-failed": "The order has changed since you looked at it",
    "idempotency-key-reused": "This form has been sent before with other content",
    "idempotency-key-in-use": "This form is being handled at the moment",
}
"""Titles of problems that have another title for callers of the API."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the operator is asked: the page's texts, and the fields that go with the form as they are.

    `asks_amount` is whether the amount is a field; then another page asks for the confirmation.
    """

    name: str
    subject: str
    consequences: Sequence[str]
    back: str
    fields: dict[str, str]
    asks_amount: bool = False
    currency: str = ""
    amount: str = ""
    reason: str = ""

    def show(self, *, confirms: bool, status: int = 200, errors: dict[str, str] | None = None) -> Response:
        """Return the page. `confirms` is whether its button acts; `errors` are by the name of the field."""
        text = render_template(
            "action.html",
            form=self,
            label=offers.LABELS[self.name],
            confirms=confirms,
            asks_reason=not (confirms and self.asks_amount),
            errors=errors or {},
            max_reason=offers.MAX_REASON,
        )
        return make_response(text, status)


def new_action(name: str, merchant: str, order_id: str | None = None, **more: Any) -> Action:
    """Return an action of the operator who is signed in. `more` are further fields of audit.Action."""
    return Action(g.operator.name, g.request_id, name, merchant, order_id, **more)


def act_once(form: Form, action: Action, condition: Condition, act: Callable[[Claim], object]) -> AnyResponse:
    """Call `act` with a claim for the form's key; it records the action. A refusal is recorded, too."""
    if request.form.get("confirmed") != "yes":
        raise BadRequest("The form has not been confirmed.")
    # What a cancel returns is not a part: it is another amount for the second of two identical forms.
    amount = None if action.action == offers.CANCEL else action.amount
    content: dict[str, Any] = {"amount": amount, "reason": action.reason, "target": action.target}

    def record(session: Session) -> None:
        audit.record(session, action, "done")

    fingerprint = idempotency.fingerprint("POST", request.path, content)
    try:
        act(Claim(action.merchant, f"operator:{form.fields['key']}", fingerprint, condition, record))
    except Problem as problem:
        if problem.name == "unavailable":
            raise
        audit.record(resources().database.session(), action, "refused", problem.name)
        log_action(action, "refused", problem.name)
        return problem_page(problem.name, problem.detail, form.back)
    except UNAVAILABLE:
        log_action(action, "unknown", "the database does not respond")
        raise
    log_action(action, "done")
    return access.redirect_with(form.back, form.name)


def log_action(action: Action, outcome: str, detail: str = "", **more: Any) -> None:
    """Log an action, without its reason. The audit has the reason."""
    fields: dict[str, Any] = {"merchant": action.merchant, "order_id": action.order_id, "target": action.target}
    fields |= {"amount": action.amount, "currency": action.currency, "detail": detail or None}
    known = {name: value for name, value in fields.items() if value not in (None, "")}
    log.warning("operator_action", action=action.action, who=action.who, outcome=outcome, **known, **more)


def read_fields(form: Form, currency: str) -> tuple[int | None, str, dict[str, str]]:
    """Return the amount in minor units, the reason, and the errors by field. With errors, the others are not valid."""
    amount, reason, errors = None, "", dict[str, str]()
    if form.asks_amount:
        try:
            amount = offers.parse_amount(request.form.get("amount", ""), currency)
        except ValueError as error:
            errors["amount"] = f"The amount {error}"
    try:
        reason = offers.parse_reason(form.reason)
    except ValueError as error:
        errors["reason"] = f"The reason {error}"
    return amount, reason, errors


def merchant_of_request() -> str:
    """Return the merchant that the request names. Raises BadRequest."""
    merchant = request.values.get("merchant", "")
    if not is_merchant(merchant):
        raise BadRequest("The request has no valid merchant.")
    return merchant


def uuid_of_request(name: str) -> str:
    """Return an id that the request names. Raises BadRequest."""
    try:
        return str(UUID(request.values.get(name, "")))
    except ValueError as error:
        raise BadRequest(f"The request has no valid {name} id.") from error


def form_key() -> str:
    """Return the idempotency key of the posted form, or a new one for a form that is shown first."""
    return uuid_of_request("key") if request.method == "POST" else str(uuid_utils.uuid4())


def problem_page(problem: str, detail: str, back: str) -> Response:
    """Return a page that says why an action was refused, with a link to the page `back`, where it was offered."""
    kind = CATALOGUE[problem]
    if problem == "precondition-failed":
        detail = "Nothing was done. Look at the order again, and start over."
    return message_page(TITLES.get(problem, kind.title), detail, kind.status, back)
