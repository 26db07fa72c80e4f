"""Merchants take turns in the outbox; a delivery that was asked for is attempted while its endpoint is paused."""

from alembic import op

from chassis.postgres import tables

revision = "0011"
down_revision = "0010"

AT_ONCE = """
ALTER TABLE webhook_deliveries ADD COLUMN IF NOT EXISTS at_once boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN webhook_deliveries.at_once IS
    'Requested by the merchant (test, redeliver): the next attempt is made even while the endpoint is paused.';
"""


def upgrade() -> None:
    """Add the column with a constant default, which rewrites no row, and create the indexes without blocking writes.

    Each part can be repeated, because the first one is committed before the indexes are built.
    """
    op.execute(AT_ONCE)
    tables.index_concurrently(op, *tables.OUTBOX_TURNS)
    tables.index_concurrently(
        op,
        "webhook_deliveries_at_once",
        "webhook_deliveries (merchant, endpoint_id, available_at) WHERE status = 'pending' AND at_once",
    )
    op.execute(tables.comment("INDEX outbox_turns", tables.OUTBOX_TURNS_COMMENT))
    op.execute(tables.comment("INDEX webhook_deliveries_at_once", "Claims of deliveries to paused endpoints."))
