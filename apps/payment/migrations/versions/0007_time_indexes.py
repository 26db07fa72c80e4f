"""Indexes by time, built while payments are being made: lists, reconciliation, and telling order again.

Ids no longer have the time of the payment, so lists are ordered by the time of creation. The release before this one
lists by id: for it, the primary key is enough.
"""

from alembic import op

from chassis.postgres import tables

revision = "0007"
down_revision = "0006"

COMMENTS = (
    tables.comment("INDEX payments_by_time", "Lists of a merchant's payments.")
    + tables.comment("INDEX payments_of_status_by_time", "Lists of one status other than captured.")
    + tables.comment("INDEX payments_changed", "Payments to tell order again.")
    + tables.comment("INDEX operations_created", "Reconciliation.")
    + tables.comment("INDEX operations_settled", "Reconciliation.")
)


def upgrade() -> None:
    """Create them, and drop the index that one of them replaces."""
    tables.index_concurrently(op, "payments_by_time", "payments (merchant, created_at, id)")
    tables.index_concurrently(
        op, "payments_of_status_by_time", "payments (merchant, status, created_at, id) WHERE status <> 'captured'"
    )
    tables.index_concurrently(op, "payments_changed", "payments USING brin (updated_at)")
    tables.index_concurrently(op, "operations_created", "operations USING brin (created_at)")
    tables.index_concurrently(op, "operations_settled", "operations USING brin (settled_at)")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_of_status")
    op.execute(COMMENTS)
