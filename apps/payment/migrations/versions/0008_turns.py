"""Indexes by which merchants take turns in the outbox and in the operations."""

from alembic import op

from chassis.postgres import tables

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the indexes without blocking writes. The release before this one claims by the indexes that remain."""
    tables.index_concurrently(op, *tables.OUTBOX_TURNS)
    tables.index_concurrently(op, "operations_turns", "operations (merchant, available_at) WHERE status = 'pending'")
    op.execute(tables.comment("INDEX outbox_turns", tables.OUTBOX_TURNS_COMMENT))
    op.execute(tables.comment("INDEX operations_turns", "Claims of the executor, in which merchants take turns."))
