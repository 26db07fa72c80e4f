"""What an order has asked of payment stands in its own row."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns. Existing rows are not rewritten: `asked_version` is null there.

    `asked` was written with the version `asked_version`. Where that is not the row's version, the release before this
    one has changed the order since, and `asked` is read from the outbox and the pending refunds instead.
    """
    op.execute(
        """ALTER TABLE orders
               ADD COLUMN asked         jsonb  NOT NULL DEFAULT '[]',
               ADD COLUMN asked_version bigint,
               ADD COLUMN last_error    jsonb"""
    )
