"""An authorization may be captured in several parts.

Additive: the release before this one runs on this schema. It takes every capture that it carries out itself for a final
one, so `final: false` is for requests after the rollout.
"""

from alembic import op

from chassis.postgres import tables

revision = "0012"
down_revision = "0011"

COLUMNS = """
ALTER TABLE operations ADD COLUMN IF NOT EXISTS final boolean NOT NULL DEFAULT true;
ALTER TABLE simulator.operations ADD COLUMN IF NOT EXISTS final boolean NOT NULL DEFAULT true;
"""

COMMENTS = (
    (
        "COLUMN operations.final",
        "false: a capture that keeps the rest of the authorized amount for further captures. true for all others.",
    ),
    ("COLUMN simulator.operations.final", "false: a capture that keeps the rest authorized. true for all others."),
    (
        "COLUMN payments.captured_amount",
        "Captured amount, in minor units: the sum of all captures. Refunds do not reduce it.",
    ),
)


def upgrade() -> None:
    """Add the columns. Their default is stored once, so no row is rewritten."""
    op.execute(COLUMNS)
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
