"""What an operator may do to an order, and what each action will do, as sentences. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

from chassis import cards, money
from order.model import Command, Order, Status
from order.operator.formatting import amount as formatted
from order.refusals import Refusal, cancel_refusal, refusal, release_refusal

REFUND, CAPTURE, CAPTURE_PART, RELEASE, CANCEL = "refund", "capture", "capture_part", "release", "cancel"
MONEY = (REFUND, CAPTURE, CAPTURE_PART, RELEASE, CANCEL)
"""The actions that change an order."""

SEND, REDELIVER, ENABLE = "send", "redeliver", "enable"
RETRIES = (SEND, REDELIVER, ENABLE)
"""The actions that send again what waits or has failed. They move no money that was not requested before."""

LABELS = {
    REFUND: "Refund",
    CAPTURE: "Capture",
    CAPTURE_PART: "Capture a part, keep the rest",
    RELEASE: "Release the rest",
    CANCEL: "Cancel the order",
    SEND: "Send the command now",
    REDELIVER: "Redeliver the webhook",
    ENABLE: "Enable the endpoint",
}
"""What the buttons and headings say."""

MAX_REASON = 200
"""The most characters of a reason."""

_AMOUNT = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,4})?")


def why_not(name: str, order: Order, amount: int | None = None) -> Refusal | None:
    """Return why an order does not allow an action of MONEY, or None. `amount` is in minor units; None: all."""
    if name == CANCEL:
        if order.status in (Status.CANCELED, Status.CANCELING):
            return Refusal("order-state", f"Nothing is left to cancel: the order is {order.status}.")
        return cancel_refusal(order)
    if name == RELEASE:
        return release_refusal(order)
    command = Command.REFUND if name == REFUND else Command.CAPTURE
    text = partial(formatted, currency=order.currency)
    return refusal(order, command, amount, final=name != CAPTURE_PART, text=text)


def allowed(order: Order) -> list[str]:
    """Return the actions of MONEY that an order allows now."""
    return [name for name in MONEY if why_not(name, order) is None]


def largest_amount(name: str, order: Order) -> int | None:
    """Return the most that an action can move, in minor units; None if the operator chooses no amount."""
    if name in (CANCEL, RELEASE):
        return None
    return order.refundable_amount if name == REFUND else order.capturable_amount


def consequences(name: str, order: Order, amount: int | None) -> Iterator[str]:
    """Yield sentences that say what an action will do, and how much money moves. `amount` is in minor units."""

    def text(minor: int) -> str:
        return formatted(minor, order.currency)

    if name == REFUND and amount is not None:
        yield f"{text(amount)} is returned to the customer, by the payment that {order.payment_method} made."
        left = order.refundable_amount - amount
        yield f"Of {text(order.paid_amount)} paid, {text(left)} is left after that."
        yield "A refund cannot be taken back."
    elif name in (CAPTURE, CAPTURE_PART) and amount is not None:
        yield f"{text(amount)} is taken from the customer."
        rest = order.capturable_amount - amount
        if rest and name == CAPTURE:
            yield f"The rest of the authorized amount, {text(rest)}, is released and can no longer be captured."
        elif rest:
            yield f"The rest of the authorized amount, {text(rest)}, stays authorized and can be captured later."
    elif name == RELEASE:
        yield f"The rest of the authorized amount, {text(order.capturable_amount)}, is released. No money moves."
        yield f"The order is paid with the {text(order.paid_amount)} that are captured."
    elif name == CANCEL:
        yield from _of_cancel(order, text(order.refundable_amount))
        yield "A canceled order cannot be paid again."


def _of_cancel(order: Order, left: str) -> Iterator[str]:
    total = formatted(order.total_amount, order.currency)
    if order.status is Status.PAID:
        yield f"{left} is returned to the customer: all that was paid and not refunded before."
    elif order.status is Status.AUTHORIZED:
        if order.paid_amount:
            yield f"{left} is returned to the customer: all that was captured. The rest of {total} is released."
        else:
            yield f"The authorization of {total} is released. No money moves."
        if order.waits_for(Command.CAPTURE):
            yield "A capture is in progress. What it takes is returned."
    elif order.status is Status.PENDING_PAYMENT:
        yield f"The payment of {total} is stopped if it has not begun. Otherwise all that it takes is returned."
    else:
        yield "No money moves: nothing was paid."


def parse_amount(text: str, currency: str) -> int:
    """Return an amount in minor units, from major units as a person writes them: `4.50`.

    Raises ValueError; its message continues "The amount", and never quotes the text.
    """
    text = text.strip()
    if not _AMOUNT.fullmatch(text):
        raise ValueError("must be a number such as 4.50, without a currency and without separators of thousands.")
    try:
        minor = money.to_minor(Decimal(text), currency)
    except ValueError as error:
        raise ValueError(f"{error}.") from error
    if minor < 1:
        raise ValueError("must be greater than zero.")
    return minor


def parse_reason(text: str) -> str:
    """Return a reason without spaces around it.

    Raises ValueError; its message continues "The reason", and never quotes the text.
    """
    text = text.strip()
    if not text:
        raise ValueError("is missing.")
    if len(text) > MAX_REASON:
        raise ValueError(f"has more than {MAX_REASON} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must have no control characters.")
    if cards.has_card_number(text):
        raise ValueError("must not hold a card number.")
    return text
