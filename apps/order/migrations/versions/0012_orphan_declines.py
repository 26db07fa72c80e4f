"""The return of an orphan's money can be requested again after the provider has declined it."""

from alembic import op

from chassis.postgres import tables

revision = "0012"
down_revision = "0011"

DECLINES = "ALTER TABLE orphan_payments ADD COLUMN IF NOT EXISTS declines integer NOT NULL DEFAULT 0;"


def upgrade() -> None:
    """Add the column with a constant default, which rewrites no row. The release before this one does not use it."""
    op.execute(DECLINES)
    op.execute(
        tables.comment(
            "COLUMN orphan_payments.declines",
            "How many requests to return its money were declined. The next one has another idempotency key.",
        )
    )
