"""No statistics of JSON that no search reads."""

from alembic import op

from chassis.postgres import tables

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Leave out what no plan depends on."""
    tables.without_statistics(op, "orders", "items", "payment", "asked", "last_error")
    tables.without_statistics(op, "order_events", "data", "state")
    tables.without_statistics(op, "outbox", "payload", "headers")
