"""Payments without an order, and an index for the orders that changed in a period."""

from alembic import op

from chassis.postgres import tables

revision = "0010"
down_revision = "0009"

ORPHANS = """
CREATE TABLE IF NOT EXISTS orphan_payments (
    merchant         text        NOT NULL,
    payment_id       uuid        NOT NULL,
    order_id         uuid        NOT NULL,
    status           text        NOT NULL,
    currency         text        NOT NULL,
    amount           bigint      NOT NULL,
    captured_amount  bigint      NOT NULL,
    refunded_amount  bigint      NOT NULL,
    refunding_amount bigint      NOT NULL,
    failure_reason   text,
    version          bigint      NOT NULL,
    first_seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, payment_id)
);
CREATE INDEX IF NOT EXISTS orphan_payments_of_order ON orphan_payments (merchant, order_id);
CREATE INDEX IF NOT EXISTS orphan_payments_holding ON orphan_payments (first_seen_at)
    WHERE status IN ('processing', 'authorized') OR captured_amount > refunded_amount;
"""

COMMENTS = (
    tables.comments(
        "orphan_payments",
        "Newest snapshots of payments that name an order which does not exist here.",
        merchant="Merchant that owns the payment.",
        payment_id="The payment.",
        order_id="The order that the payment names. If it is placed later, it takes the payment.",
        status="State of the payment.",
        currency="ISO 4217 code of all amounts.",
        amount="Amount of the payment, in minor units.",
        captured_amount="Captured amount, in minor units.",
        refunded_amount="Refunded amount, in minor units.",
        refunding_amount="Amount of refunds without a known outcome, in minor units.",
        failure_reason="Why the payment failed, if it did.",
        version="Version of the payment. An older snapshot changes nothing.",
        first_seen_at="Time at which the first snapshot arrived.",
        last_seen_at="Time at which the newest snapshot arrived.",
    )
    + tables.comment("INDEX orphan_payments_of_order", "The payments that an order takes when it is placed.")
    + tables.comment("INDEX orphan_payments_holding", "Lists and gauges of payments that hold or may hold money.")
)


def upgrade() -> None:
    """Create the table, and the index of the history without blocking it.

    Each part can be repeated, because the first one is committed before the index is built.
    """
    op.execute(ORPHANS)
    op.execute(COMMENTS)
    tables.index_concurrently(op, "order_events_at", "order_events USING brin (at)")
    op.execute(tables.comment("INDEX order_events_at", "The orders that changed in a period, for reconcile."))
