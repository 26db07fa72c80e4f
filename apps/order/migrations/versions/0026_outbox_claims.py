"""Each statement on waiting rows of the outbox has one index that fits."""

from alembic import op

from chassis.postgres import tables

revision = "0026"
down_revision = "0024"


def upgrade() -> None:
    """Replace two indexes of the outbox without blocking writes."""
    tables.outbox_indexes(op)
    op.execute(tables.comment("INDEX outbox_oldest", "The oldest undelivered row of an order."))
