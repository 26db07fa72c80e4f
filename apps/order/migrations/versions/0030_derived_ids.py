"""Comments on ids that follow from a request's idempotency key, and on earlier payments."""

from alembic import op

from chassis.postgres import tables

revision = "0030"
down_revision = "0029"

_DERIVED = "a UUIDv7, or a UUIDv8 if it derives from an idempotency key that has no time"


def upgrade() -> None:
    """Replace three comments."""
    op.execute(
        tables.comment(
            "COLUMN refunds.id",
            f"The refund's id, {_DERIVED}. Also that of the command, and the idempotency key at payment.",
        )
        + tables.comment(
            "COLUMN outbox.id",
            f"The message's id, {_DERIVED}. The idempotency key at payment, the same at each attempt.",
        )
        + tables.comment(
            "COLUMN orders.past_payments",
            "Ids of earlier payments. Snapshots of these are ignored, unless one is live again after a restore.",
        )
    )
