"""Whether an older event of an order is to be attempted first is found without reading those that have failed."""

from alembic import op

from chassis.postgres import tables

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Replace the index without blocking writes. The release before this one can use the new index, too."""
    tables.index_concurrently(
        op,
        "webhook_deliveries_first",
        "webhook_deliveries (merchant, endpoint_id, order_id, id)"
        " WHERE status = 'pending' AND (attempts = 0 OR leased_until IS NOT NULL)",
    )
    tables.drop_concurrently(op, "webhook_deliveries_order")
    op.execute(tables.comment("INDEX webhook_deliveries_first", "Older events of an order, which are attempted first."))
