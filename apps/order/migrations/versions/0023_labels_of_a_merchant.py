"""Orders are found by a label in an index that has the merchant in each entry."""

from alembic import op

from chassis.postgres import tables

revision = "0023"
down_revision = "0022"

LABELS = "jsonb_set('{}', ARRAY[merchant], metadata)"


def upgrade() -> None:
    """Replace the index, in which a merchant's list read the orders of all merchants with the same label.

    jsonb_set makes {merchant: metadata}. An entry of the index is a hash of a label's value and of the path to it, so
    it is of one merchant. No release has read the index that is dropped.

    The statistics tell PostgreSQL how many orders of a merchant have a label: a list by a rare one is read from this
    index, a list by one that most orders have is read in the order of time.
    """
    tables.index_concurrently(
        op,
        "orders_of_label",
        f"orders USING gin ({LABELS} jsonb_path_ops) WITH (fastupdate = off) WHERE metadata <> '{{}}'",
    )
    tables.drop_concurrently(op, "orders_labeled")
    op.execute(f"CREATE STATISTICS IF NOT EXISTS orders_labels ON ({LABELS}) FROM orders")
    op.execute(tables.comment("INDEX orders_of_label", "Lists of a merchant's orders by a label."))
    op.execute(tables.comment("STATISTICS orders_labels", "How many orders have a label, for the lists by it."))
    with op.get_context().autocommit_block():
        op.execute("ANALYZE orders")
