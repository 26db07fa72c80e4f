"""An order is paid by a capture of its total or of a part of it."""

from alembic import op

from chassis.postgres import tables

revision = "0009"
down_revision = "0008"

# The two constraints of 0001 without a name of their own are replaced. Every row that satisfied them satisfies these.
# IF EXISTS: the statement commits before the validation, so an interrupted migration runs it again.
RULES = """
ALTER TABLE orders
    DROP CONSTRAINT IF EXISTS orders_check2,
    DROP CONSTRAINT IF EXISTS orders_check3,
    DROP CONSTRAINT IF EXISTS orders_paid,
    DROP CONSTRAINT IF EXISTS orders_refunded,
    ADD CONSTRAINT orders_paid CHECK (
        status <> 'paid' OR total_amount = 0 OR (paid_amount > 0 AND refunded_amount < paid_amount)) NOT VALID,
    ADD CONSTRAINT orders_refunded CHECK (
        status <> 'refunded' OR (paid_amount > 0 AND refunded_amount = paid_amount)) NOT VALID
"""

COMMENTS = (
    (
        "COLUMN orders.paid_amount",
        "Captured amount, in minor units. A partial capture is less. Refunds do not reduce it.",
    ),
    (
        "COLUMN orders.asked",
        "Commands to payment without a known outcome: id of the message, command, amount of a refund or part capture.",
    ),
    (
        "COLUMN orders.last_error",
        "Newest decline of a command, until something succeeds: command, id of its message, reason, code, detail, at.",
    ),
    (
        "COLUMN order_events.data",
        "Details: payment_id, payment_status, payment_method, failure_reason, capture_amount, refund_amount.",
    ),
)


def upgrade() -> None:
    """Replace the constraints, and validate the new ones without blocking writes.

    The release before this one writes no partly paid order. If it meets one during a rollout, the database refuses what
    it would write, and the event is delivered again to a pod of this release.
    """
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
    op.execute(RULES)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE orders VALIDATE CONSTRAINT orders_paid")
        op.execute("ALTER TABLE orders VALIDATE CONSTRAINT orders_refunded")
