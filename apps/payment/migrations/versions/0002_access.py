"""API keys."""

from alembic import op

from chassis import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table of keys.py."""
    op.execute(tables.API_KEYS)
