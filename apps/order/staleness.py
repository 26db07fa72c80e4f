"""What payment reports that may be older than what an order knows: pure functions without input or output."""

from __future__ import annotations

from order import model
from order.model import Order
from order.transition import Answer


def to_read(order: Order, answer: Answer) -> str | None:
    """Return the id of a payment that must be read from payment before the event is applied, or None.

    An order has one live payment at a time. If the event shows another one as live, the order's own has ended: payment
    reported that in a response that the order has not committed yet, and sends no event of it. If the event shows a
    payment as live that the order gave up, it is live again (order.history.History.take_back), or the event is late.
    """
    known, payment = order.payment, answer.payment
    if payment is None or payment.status not in model.LIVE or answer.is_current:
        return None
    if known is not None and known.status in model.LIVE:
        return known.id if payment.id != known.id and payment.id not in order.past else None
    return payment.id if payment.id in order.past else None


def is_behind(order: Order, answer: Answer) -> bool:
    """Return whether payment refused a command because of a state that is older than the one the order knows.

    Its database was restored and has not caught up, so that is no outcome. The order would decide the same again, under
    a new id each time.
    """
    known, payment, outcome = order.payment, answer.payment, answer.outcome
    if known is None or payment is None or outcome is None or outcome.succeeded or outcome.declined:
        return False
    is_older = payment.id == known.id and payment.version < known.version
    return is_older and any(asked.id == outcome.id for asked in order.asked)
