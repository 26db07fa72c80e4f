"""How far consumers of the broker are behind, as the publisher reads it from the broker."""

from alembic import op

from chassis.postgres import tables

revision = "0024"
down_revision = "0023"

CONSUMERS = """
CREATE TABLE event_consumers (
    name    text        PRIMARY KEY,
    pending bigint      NOT NULL CHECK (pending >= 0),
    at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
"""

COMMENTS = tables.comments(
    "event_consumers",
    "Consumers of the broker that the publisher sends events to, when it last asked the broker.",
    name="Name of the consumer: a durable one of NATS, a group of Kafka.",
    pending="Events that it has not acknowledged (NATS), or that are behind its offsets (Kafka).",
    at="When the broker said so.",
)


def upgrade() -> None:
    """Create the table. The release before this one does not use it."""
    op.execute(CONSUMERS)
    op.execute(COMMENTS)
