"""Faults that the simulator is told to have, for all payments."""

from alembic import op

revision = "0004"
down_revision = "0003"

# One row, and none while nothing was ever switched on.
FAULTS = """
CREATE TABLE simulator.faults (
    one                   boolean     PRIMARY KEY DEFAULT true CHECK (one),
    decline               boolean     NOT NULL,
    delay_ms              integer     NOT NULL CHECK (delay_ms BETWEEN 0 AND 5000),
    lost_requests_percent integer     NOT NULL CHECK (lost_requests_percent BETWEEN 0 AND 100),
    lost_answers_percent  integer     NOT NULL CHECK (lost_answers_percent BETWEEN 0 AND 100),
    changed_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(FAULTS)
