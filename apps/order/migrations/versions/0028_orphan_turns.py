"""Payments without an order are found merchant by merchant."""

from alembic import op

from chassis.postgres import tables

revision = "0028"
down_revision = "0026"


def upgrade() -> None:
    """Build the index without blocking writes. The release before this one does not need it."""
    tables.index_concurrently(
        op,
        "orphan_payments_turns",
        "orphan_payments (merchant, first_seen_at)"
        " WHERE status IN ('processing', 'authorized') OR captured_amount > refunded_amount",
    )
    op.execute(tables.comment("INDEX orphan_payments_turns", "The sweep, in which merchants take turns."))
