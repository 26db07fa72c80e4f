"""Indexes for lists of orders, built while orders are being placed."""

from alembic import op

from chassis.postgres import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create two: one serves lists of all orders and of a status, the other those of a customer."""
    tables.index_concurrently(op, "orders_newest", "orders (merchant, status, created_at, id)")
    tables.index_concurrently(
        op, "orders_of_customer", "orders (merchant, customer, created_at, id) WHERE customer IS NOT NULL"
    )
