"""`order resync` works if the tables are in another schema than `public`."""

from alembic import op

from chassis.postgres import tables

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Let the function that runs with the rights of its owner find the tables where they are."""
    tables.with_search_path_of(op, "order_events", "advance_order_events()")
