"""An index by which merchants take turns when authorizations expire."""

from alembic import op

from chassis.postgres import tables

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Replace the index of authorizations by one that begins with the merchant, without blocking writes.

    The release before this one runs on this schema. It finds expired authorizations in the new index, too, but reads
    all authorizations for it.
    """
    tables.index_concurrently(
        op,
        "payments_expiring_turns",
        "payments (merchant, expires_at) WHERE status = 'authorized' AND busy IS NULL",
    )
    tables.drop_concurrently(op, "payments_expiring")
    op.execute(tables.comment("INDEX payments_expiring_turns", "Authorizations to void, by merchants' turns."))
