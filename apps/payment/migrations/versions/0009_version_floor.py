"""After a restore, changed payments continue above every version that order may have seen."""

from alembic import op

from chassis.postgres import tables

revision = "0009"
down_revision = "0008"

FLOOR = """
CREATE TABLE version_floor (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);
"""

COMMENTS = tables.comments(
    "version_floor",
    "At most one row: a version below which order may know newer snapshots from before a restore.",
    one="Always true, so that there is one row.",
    version="The time of the newest resync, in seconds since 1970.",
) + tables.comment(
    "COLUMN payments.version",
    "Incremented by each change. Set to the clock (seconds since 1970) when the payment is adopted or told to order "
    "again, and by the first change after a resync. Sent as the ETag. Order applies only a newer snapshot.",
)


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    op.execute(FLOOR)
    op.execute(COMMENTS)
