"""Comments on all tables and columns."""

from alembic import op

from chassis.postgres import tables

revision = "0008"
down_revision = "0007"

ORDERS = (
    tables.comments(
        "orders",
        "Orders as they are now. Each change increments the version and adds a row to order_events.",
        merchant="Merchant that owns the order. Part of the primary key, so a query reads one merchant.",
        id="UUIDv7. Chosen by the caller if the order was placed with POST /orders.",
        status="State of the order. The trigger orders_guard allows only legal transitions.",
        currency="ISO 4217 code of all amounts.",
        total_amount="Amount to pay, in minor units. Immutable.",
        paid_amount="Captured amount, in minor units. Refunds do not reduce it.",
        refunded_amount="Refunded amount, in minor units.",
        refunding_amount="Amount reserved for refunds without a known outcome, in minor units.",
        items="Lines as they were placed: sku, name, quantity, unit_amount, amount. Immutable.",
        customer="The merchant's reference for the customer.",
        payment_method="Token of the provider, used by the newest payment. Never a card number.",
        capture="automatic: the payment is captured at once. manual: it is authorized, and captured on request.",
        metadata="Data of the merchant, not interpreted.",
        payment="Newest snapshot of the current payment: id, version, status, amounts. NULL before the first.",
        failure_reason="Why the payment failed, while the status is payment_failed.",
        past_payments="Ids of earlier payments. Snapshots of these are ignored.",
        command_id="Newest command in the outbox. The sweep sends it again if the order waits too long.",
        swept_at="Last time that the sweep found the order waiting. Setting it makes no new version.",
        asked="Commands to payment without a known outcome: id of the message, command, and of a refund its amount.",
        asked_version="Version that asked was written with. If it is not the row's, an older release wrote the row.",
        last_error="Newest decline of a command by the provider, until a command succeeds. NULL if there is none.",
        version="Version of the newest row in order_events; sent as the ETag.",
        created_at="Time at which the order was placed.",
        updated_at="Time of the newest version.",
    )
    + tables.comment("INDEX orders_waiting", "The sweep, gauges.")
    + tables.comment("INDEX orders_newest", "Lists of all orders and of one status.")
    + tables.comment("INDEX orders_of_customer", "Lists of one customer.")
    + tables.comment("TRIGGER orders_guard ON orders", "The state machine of order.model, enforced for every writer.")
)

EVENTS = tables.comments(
    "order_events",
    "History of the orders, one row for each version. Append-only.",
    merchant="Merchant that owns the order.",
    order_id="The order.",
    version="Version of the order after the event.",
    type="What happened, such as order.paid, payment.refund_requested or refund.succeeded.",
    from_status="Status before the event; NULL for the first.",
    to_status="Status after the event. Equal to from_status if only amounts or commands changed.",
    actor="Who caused the event: merchant or payment.",
    data="Details: payment_id, payment_status, payment_method, failure_reason, refund_amount.",
    at="Time of the event.",
) + tables.comment("FUNCTION append_only()", "Refuses UPDATE, DELETE and TRUNCATE.")

REFUNDS = (
    tables.comments(
        "refunds",
        "Refunds of orders, including those that cancel an order.",
        merchant="Merchant that owns the order.",
        id="UUIDv7. Also the id of the command in the outbox, and so the idempotency key at payment.",
        order_id="The order.",
        amount="Amount, in minor units.",
        currency="ISO 4217 code.",
        reason="Reason given by the merchant.",
        to_cancel="Whether the refund cancels the order.",
        status="pending until the outcome is known.",
        failure_reason="Why the refund failed.",
        declined="Whether the provider declined the refund. It also fails if too little is left to refund.",
        created_at="Time of the request.",
    )
    + tables.comment("INDEX refunds_of_order", "Refunds of one order.")
    + tables.comment("INDEX refunds_pending", "The sweep, gauges.")
)

ENDPOINTS = tables.comments(
    "webhook_endpoints",
    "Webhook endpoints that merchants registered.",
    merchant="Merchant that owns the endpoint.",
    id="UUIDv7.",
    url="URL to which events are posted.",
    description="Note of the merchant.",
    events="Types of the events to send, such as order.paid.",
    secrets="Signing secrets, newest first: seed, key of WEBHOOK_KEYS that derives the secret, end of use.",
    status="disabled after the endpoint answered 410.",
    disabled_reason="Why the endpoint is disabled.",
    failures="Number of failed attempts in a row.",
    paused_until="No attempt is made before this time: after failures in a row, or as Retry-After asked.",
    created_at="Time of registration.",
) + tables.comment("INDEX webhook_endpoints_enabled", "Endpoints that want an event, read by each step of an order.")

DELIVERIES = (
    tables.comments(
        "webhook_deliveries",
        "Events to deliver to endpoints. A row commits with the step of the order that it reports.",
        merchant="Merchant that owns the endpoint.",
        endpoint_id="The endpoint. Without a foreign key: an order never waits for an endpoint that is deleted.",
        id="UUIDv7. Sent as webhook-id: the same for each attempt and for all endpoints of the merchant.",
        order_id="The order; NULL for a test event.",
        type="Type of the event.",
        payload="Body of the request, as it is signed and sent.",
        status="dead after WEBHOOK_GIVE_UP_SECONDS or a 410. A redelivery makes it pending again.",
        attempts="Number of claims.",
        tries="Number of claims since the last redelivery. Determines the backoff.",
        last_status_code="Status code of the last response.",
        last_error="Why the last attempt failed.",
        created_at="Time of the event.",
        available_at="The row is not claimed before this time (backoff).",
        trying_since="Time of the event or of the last redelivery. The delivery is given up by its age.",
        leased_until="End of the lease.",
        lease_owner="Holder of the lease. Only the holder can settle the delivery.",
        settled_at="Time at which it was delivered or became dead.",
        headers="X-Request-Id and trace context of the request that caused the event. Not sent.",
    )
    + tables.comment("INDEX webhook_deliveries_due", "Claims of the webhook loop.")
    + tables.comment("INDEX webhook_deliveries_order", "Older pending events of an order, which are attempted first.")
    + tables.comment("INDEX webhook_deliveries_age", "Deliveries to give up, gauges.")
    + tables.comment("INDEX webhook_deliveries_leased", "Attempts under way at one endpoint.")
    + tables.comment("INDEX webhook_deliveries_dead", "Dead letters.")
    + tables.comment("INDEX webhook_deliveries_created", "The purge, the operator's page.")
)

ATTEMPTS = tables.comments(
    "webhook_attempts",
    "Attempts at deliveries. Deleted with the delivery.",
    merchant="Merchant that owns the endpoint.",
    endpoint_id="The endpoint.",
    delivery_id="The delivery.",
    number="Number of the attempt, from 1.",
    status_code="Status code of the response; NULL if there was none.",
    error="Why the attempt failed.",
    seconds="Duration, in seconds.",
    at="Time at which the attempt began.",
)

SESSIONS = tables.comments(
    "operator_sessions",
    "Sessions of the operator's page.",
    digest="SHA-256 of the token in the cookie. The token itself is not stored.",
    key_digest="SHA-256 of the API key. The session ends with the key.",
    who="Name of the key, for the page and the log.",
    expires_at="End of the session.",
) + tables.comment("INDEX operator_sessions_expiring", "Sessions that have ended.")


def upgrade() -> None:
    """Add the comments. Reads and writes are not blocked."""
    for statements in (
        ORDERS,
        EVENTS,
        REFUNDS,
        tables.outbox_comments(
            "order",
            "In order payment.create, payment.capture, payment.void or payment.refund; in payment payment.updated.",
        ),
        tables.INBOX_COMMENTS,
        tables.IDEMPOTENCY_KEYS_COMMENTS,
        ENDPOINTS,
        DELIVERIES,
        ATTEMPTS,
        tables.api_keys_comments("orders:read"),
        tables.RATE_LIMITS_COMMENTS,
        SESSIONS,
        tables.ALEMBIC_COMMENTS,
    ):
        op.execute(statements)
