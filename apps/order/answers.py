"""What payment answers to commands and reports in events, as answers to decide on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import marshmallow

from chassis import cards
from chassis.http import fast_load
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused, Unreachable
from order import model
from order.model import Command, Outcome
from order.snapshots import PaymentSnapshot, RefundSnapshot
from order.transition import Answer

_payment = fast_load.loader(PaymentSnapshot())
_refund = fast_load.loader(RefundSnapshot())

# Payment's problems for a command that came too late: other operations have changed the payment first.
_OVERTAKEN = frozenset({"payment-state", "amount-exceeds-captured", "amount-exceeds-authorized"})

# Payment's problems for a command that it can't carry out at the moment.
_TEMPORARY = frozenset({"unavailable", "idempotency-key-in-use", "too-many-requests"})

MAX_REASON = 500
"""Characters of a reason that an order keeps."""

NOT_FOUND = "payment-not-found"
"""Payment's problem if neither it nor the provider knows a payment."""

CAPTURES_ONCE = "final-capture-required"
"""Payment's problem if its provider does not keep the rest after a capture."""

Failure = Unreachable | Refused
"""Why a command has no answer: it is retried."""


def results_of(body: Any) -> dict[str, Any]:
    """Return the results in payment's response to a batch, by message id. Raises LookupError and TypeError."""
    return {result["id"]: result for result in body["results"]}


def read(messages: Sequence[Message], results: Mapping[str, Any]) -> dict[str, Answer | Failure]:
    """Return the answers or failures in the results of a batch, by message id; see `results_of`."""
    found: dict[str, Answer | Failure] = {}
    for message in messages:
        try:
            found[message.id] = _answer(message, results[message.id])
        except (Unreachable, Refused) as failure:
            found[message.id] = failure
        except (ValueError, KeyError, TypeError, marshmallow.ValidationError):
            found[message.id] = _invalid()
    return found


def _answer(message: Message, result: dict[str, Any]) -> Answer:
    """Return the answer to a command.

    If payment does not know the payment of a capture, void or refund, the command is declined: payment has looked for
    it at the provider, too, so a retry would never end.
    """
    known = payment(result["payment"]) if result.get("payment") else None
    problem = result.get("problem")
    if problem is not None:
        return Answer(known, _refused(message, known, problem["name"], problem["detail"]), message.id)
    if known is None:
        raise _invalid()
    if message.topic == Command.CREATE:
        return Answer(known, answers=message.id)
    if message.topic == Command.REFUND:
        return Answer(known, _of_refund(message, _refund(result["refund"])), message.id)
    operation = result["operation"]
    if operation["status"] == "pending":
        return Answer(known, None, message.id)
    succeeded = operation["status"] == "succeeded"
    reason = None if operation["reason"] is None else cards.shown(operation["reason"], MAX_REASON)
    return Answer(known, Outcome(message.id, succeeded, not succeeded, reason), message.id)


def _refused(message: Message, payment: model.Payment | None, problem: str, detail: str) -> Outcome:
    """Return the outcome of a command that payment refused. Raises Unreachable or Refused if it is to be retried."""
    if problem in _TEMPORARY:
        raise Unreachable(f"payment: {detail}")
    if problem == NOT_FOUND and message.topic != Command.CREATE:
        return Outcome(message.id, succeeded=False, declined=True, reason=NOT_FOUND)
    if problem == CAPTURES_ONCE:
        return Outcome(message.id, succeeded=False, declined=True, reason=problem)
    if problem in _OVERTAKEN and message.topic == Command.REFUND:
        return Outcome(message.id, succeeded=False, reason=problem)
    if problem in _OVERTAKEN and payment is not None:
        if payment.status != "authorized":
            return Outcome(message.id, succeeded=False)
        if problem == "amount-exceeds-authorized":
            # The same amount is refused again, so a retry does not help.
            return Outcome(message.id, succeeded=False, declined=True, reason=problem)
        # While the payment is authorized, another operation is under way that may still fail: retry later.
    raise Refused(f"payment refused the command: {problem}: {detail}"[:300], problem)


def _of_refund(message: Message, refund: dict[str, Any]) -> Outcome | None:
    if refund["status"] == "pending":
        return None
    failed = refund["status"] == "failed"
    return Outcome(message.id, not failed, failed, refund["failure_reason"])


def _invalid() -> Refused:
    return Refused("payment sent a response that is not valid")


def payment(body: Any) -> model.Payment:
    """Return a payment as payment's API shows it. Raises marshmallow.ValidationError."""
    return snapshot(_payment(body))


def snapshot(fields: dict[str, Any]) -> model.Payment:
    """Return validated fields of a payment as a snapshot to decide on."""
    return model.Payment(**{name: value for name, value in fields.items() if name != "order_id"})


def from_event(event: dict[str, Any]) -> Answer:
    """Return what a validated payment event reports.

    The idempotency key of its operation is the id of the message that asked for it, if an order asked.
    """
    operation = event["operation"]
    outcome = None
    if operation["idempotency_key"] is not None:
        succeeded = operation["status"] == "succeeded"
        outcome = Outcome(operation["idempotency_key"], succeeded, not succeeded, operation["reason"])
    return Answer(snapshot(event["data"]), outcome)
