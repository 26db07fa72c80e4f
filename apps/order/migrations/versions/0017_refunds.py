"""Refunds have labels and name their payment, and can be listed for a merchant; orders can be found by a label."""

from alembic import op

from chassis.postgres import tables

revision = "0017"
down_revision = "0016"

COLUMNS = """
ALTER TABLE refunds
    ADD COLUMN IF NOT EXISTS payment_id uuid,
    ADD COLUMN IF NOT EXISTS metadata jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS updated_at timestamptz;
"""

COMMENTS = (
    ("COLUMN refunds.payment_id", "The refunded payment; NULL if a release before 0.3 wrote the row."),
    ("COLUMN refunds.metadata", "Labels of the merchant."),
    ("COLUMN refunds.updated_at", "When it succeeded or failed; NULL before, or if a release before 0.3 wrote it."),
    ("INDEX refunds_newest", "Lists of a merchant's refunds, of all or of a status."),
    ("INDEX orders_labeled", "Lists of orders by a label."),
)


def upgrade() -> None:
    """Add the columns, which rewrites no row, and build the indexes without blocking writes."""
    op.execute(COLUMNS)
    tables.index_concurrently(op, "refunds_newest", "refunds (merchant, status, created_at, id)")
    tables.index_concurrently(
        op,
        "orders_labeled",
        "orders USING gin (metadata jsonb_path_ops) WITH (fastupdate = off) WHERE metadata <> '{}'",
    )
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
