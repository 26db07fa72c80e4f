"""No statistics of JSON that no search reads."""

from alembic import op

from chassis.postgres import tables

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Leave out what no plan depends on."""
    tables.without_statistics(op, "payments", "headers")
    tables.without_statistics(op, "outbox", "payload", "headers")
