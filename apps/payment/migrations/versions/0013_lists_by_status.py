"""One index serves lists of all payments, of one status and of several."""

from alembic import op

from chassis.postgres import tables

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Build it without blocking writes, and drop the index of some statuses, which it replaces.

    The release before this one lists payments of a status by the new index, and all payments by payments_by_time.
    """
    tables.index_concurrently(op, "payments_newest", "payments (merchant, status, created_at, id)")
    tables.drop_concurrently(op, "payments_of_status_by_time")
    op.execute(tables.comment("INDEX payments_newest", "Lists of all payments and of some statuses."))
    op.execute(tables.comment("INDEX payments_by_time", "Read by releases before 0.3. The next release drops it."))
