"""The kinds of problems that the order service can answer with."""

from __future__ import annotations

from chassis.http.generic_problems import with_own
from chassis.http.problems import Kind

CATALOGUE = with_own(
    {
        "order-not-found": Kind(
            404,
            "There is no such order",
            "Check the id, and that the key belongs to the order's merchant.",
            "No order has this id, or the order belongs to another merchant, which looks the same.",
        ),
        "refund-not-found": Kind(
            404,
            "There is no such refund",
            "Check both ids: a refund is found under its own order.",
            "The order has no refund with this id.",
        ),
        "events-rewound": Kind(
            409,
            "The position in the events is not known",
            "Continue with `since`, a time before the restore, and ignore the ids that you know.",
            "The database was restored to an earlier time, and the events at this position were lost.",
        ),
        "webhook-endpoint-not-found": Kind(
            404,
            "There is no such webhook endpoint",
            "Check the id, and that the key belongs to the endpoint's merchant.",
            "No endpoint has this id, it was deleted, or it belongs to another merchant, which looks the same.",
        ),
        "webhook-delivery-not-found": Kind(
            404,
            "There is no such webhook delivery",
            "Check the id. Deliveries that were settled long ago have been deleted.",
            "No delivery of this endpoint has this id.",
        ),
        "order-exists": Kind(
            409,
            "The order exists with other content",
            "Use a new id, or repeat the first request exactly.",
            "POST /orders takes the order's id from the caller, and an order with this id exists with other items or "
            "another total.",
        ),
        "reference-taken": Kind(
            409,
            "Another order has this reference",
            "Read the order that `order_id` in the response names. Place an order with another reference, or retry an "
            "earlier request with its own Idempotency-Key.",
            "A `reference` is unique among the merchant's orders, and an order that was placed with another "
            "Idempotency-Key has it.",
        ),
        "order-state": Kind(
            409,
            "The order does not allow this now",
            "Read the order: its status says what can be done with it.",
            "The order's status does not allow it, such as a refund of an order that is not paid.",
        ),
        "amount-exceeds-authorized": Kind(
            409,
            "More than is authorized",
            "Capture at most the authorized amount, less what was captured before.",
            "All captures of a payment together may take less than the authorized amount, but never more.",
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
        "webhook-endpoint-limit": Kind(
            409,
            "The merchant has the largest allowed number of webhook endpoints",
            "Delete an endpoint that is no longer needed.",
            "Each event is sent to every endpoint that subscribes to it, so their number is limited for each merchant.",
        ),
        "webhook-endpoint-disabled": Kind(
            409,
            "The webhook endpoint is disabled",
            "Enable it first, with a POST to its /enable.",
            "The endpoint answered 410 Gone, or its merchant has disabled it. Its events are kept until it is enabled.",
        ),
    }
)
