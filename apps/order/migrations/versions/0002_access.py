"""API keys and rate limits."""

from alembic import op

from chassis.postgres import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables of keys.py and limits.py."""
    op.execute(tables.API_KEYS)
    op.execute(tables.RATE_LIMITS)
