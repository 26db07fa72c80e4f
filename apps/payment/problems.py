"""The kinds of problems that the payment service can answer with."""

from __future__ import annotations

from chassis.http.generic_problems import with_own
from chassis.http.problems import Kind

CATALOGUE = with_own(
    {
        "payment-not-found": Kind(
            404,
            "There is no such payment",
            "Check the id, and that the key belongs to the payment's merchant.",
            "No payment has this id, or the payment belongs to another merchant, which looks the same.",
        ),
        "payment-exists": Kind(
            409,
            "The order already has a payment of another amount",
            "Read the order's payment, which is the only one it is charged for, or use another order_id.",
            "POST /payments asked for another amount than that of the order's payment.",
        ),
        "payment-state": Kind(
            409,
            "The payment does not allow this now",
            "Read the payment: its status says what can be done with it.",
            "The payment's status does not allow it, such as a capture of a captured payment, or another operation of "
            "the payment is in progress.",
        ),
        "amount-exceeds-captured": Kind(
            409,
            "More than is left to refund",
            "Refund at most the captured amount, less what was refunded or is being refunded.",
            "The amount of this refund, and of all that were made or are being made, exceeds the captured amount.",
        ),
        "refund-limit": Kind(
            409,
            "The largest allowed number of refunds is reached",
            "Refund larger amounts, so that 1,000 refunds are enough. If the detail says that many are pending, wait "
            "until some have ended.",
            "At most 1,000 refunds of one order or payment are possible, those that failed included, and 100 of an "
            "order can be pending. Canceling an order returns what is left even then.",
        ),
        "payment-limit": Kind(
            409,
            "The largest allowed number of payments of an order is reached",
            "Place a new order.",
            "100 payments of the order have failed, or were voided or have expired.",
        ),
        "amount-exceeds-authorized": Kind(
            409,
            "More than is authorized",
            "Capture at most the authorized amount, less what was captured before.",
            "All captures of a payment together may take less than the authorized amount, but never more.",
        ),
        "final-capture-required": Kind(
            409,
            "The payment provider captures only once",
            "Leave out `final`, or send true: then the rest of the authorized amount is released.",
            "The capture was to keep the rest authorized. The configured payment provider does not support that.",
        ),
    }
)
