"""An authorized order may be captured in several parts. Only comments change."""

from alembic import op

from chassis.postgres import tables

revision = "0022"
down_revision = "0021"

COMMENTS = (
    (
        "COLUMN orders.paid_amount",
        "Captured amount, in minor units: of an authorized order, what is captured so far. Refunds do not reduce it.",
    ),
    (
        "COLUMN orders.asked",
        "Commands to payment without a known outcome: id of the message, command, amount of a refund or part capture, "
        "and final: false if a capture keeps the rest authorized.",
    ),
    (
        "COLUMN order_events.data",
        "Details: payment_id, payment_status, payment_method, failure_reason, capture_amount, capture_final, "
        "refund_id, refund_amount.",
    ),
    (
        "COLUMN operator_actions.action",
        "refund, capture, capture_part, release, cancel, send, redeliver, redeliver_all, enable or switch_faults.",
    ),
)


def upgrade() -> None:
    """Replace the comments."""
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
