"""Each statement on waiting rows of the outbox, and on pending operations, has one index that fits."""

from alembic import op

from chassis.postgres import tables

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    """Replace the indexes without blocking writes.

    The release before this one runs on this schema. It finds pending operations by reading all operations, as long as
    its executor runs.
    """
    tables.outbox_indexes(op)
    op.execute(tables.comment("INDEX outbox_oldest", "The oldest undelivered row of an order."))
    tables.index_concurrently(
        op, "operations_claims", "operations (merchant, available_at) WHERE status = 'pending' AND amount > 0"
    )
    tables.drop_concurrently(op, "operations_turns")
    op.execute(tables.comment("INDEX operations_claims", "Claims of the executor, gauges. All amounts are above zero."))
