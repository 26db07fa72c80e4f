"""The merchant is in every key, so that the tables can be divided by merchant among several servers."""

from alembic import op

from chassis.postgres import tables

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Build the indexes without blocking writes, and exchange the keys. Each part can be repeated.

    The release before this one runs on this schema; see tables.outbox_key. It claims operations by the index
    operations_turns.
    """
    tables.outbox_key(op)
    tables.drop_concurrently(op, "operations_due")
    op.execute(tables.comment("INDEX operations_turns", "Claims of the executor, gauges."))
