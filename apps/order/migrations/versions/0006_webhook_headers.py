"""What a webhook is part of: the ids of the request and the trace that it comes of."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; it is empty for what was to be delivered before, and nothing is rewritten."""
    op.execute("ALTER TABLE webhook_deliveries ADD COLUMN headers jsonb")
