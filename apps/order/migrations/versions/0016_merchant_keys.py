"""The merchant is in every key, so that the tables can be divided by merchant among several servers."""

from alembic import op

from chassis.postgres import tables

revision = "0016"
down_revision = "0015"

INBOX = """
ALTER TABLE inbox ADD COLUMN IF NOT EXISTS merchant text NOT NULL DEFAULT '';
COMMENT ON COLUMN inbox.merchant IS 'Empty: releases before 0.3, which write the row, do not know the merchant.';
"""


WAITING = "orders (merchant, status, updated_at) WHERE status IN ('pending_payment', 'authorized', 'canceling')"


def upgrade() -> None:
    """Build the indexes without blocking writes, and exchange the keys. Each part can be repeated.

    The release before this one runs on this schema; see tables.outbox_key. Its sweep sorts the orders that wait.
    """
    op.execute(INBOX)
    tables.replace_primary_key(op, "inbox", "merchant, id")
    tables.outbox_key(op)
    tables.index_concurrently(op, "orders_waiting_turns", WAITING)
    tables.index_concurrently(op, "refunds_turns", "refunds (merchant, created_at) WHERE status = 'pending'")
    tables.drop_concurrently(op, "orders_waiting", "refunds_pending")
    op.execute(tables.comment("INDEX orders_waiting_turns", "The sweep, in which merchants take turns; gauges."))
    op.execute(tables.comment("INDEX refunds_turns", "The sweep, gauges."))
