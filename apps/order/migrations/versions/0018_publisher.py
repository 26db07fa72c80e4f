"""The publisher's state: who publishes events to the broker now, and how far each merchant's events are published."""

from alembic import op

from chassis.postgres import tables

revision = "0018"
down_revision = "0017"

TABLES = """
CREATE TABLE event_publisher (
    one          boolean     PRIMARY KEY DEFAULT true CHECK (one),
    lease_owner  text,
    leased_until timestamptz,
    published_at timestamptz,
    last_error   text
) WITH (fillfactor = 50);
CREATE TABLE event_positions (
    merchant text   PRIMARY KEY,
    position bigint NOT NULL,
    order_id uuid   NOT NULL,
    version  bigint NOT NULL
) WITH (fillfactor = 50);
"""

COMMENTS = (
    ("TABLE event_publisher", "One row, once events are published to a broker. Its lease admits one publisher."),
    ("COLUMN event_publisher.one", "Always true, so that there is one row."),
    ("COLUMN event_publisher.lease_owner", "Name of the claim that publishes. Checked by every move of a position."),
    ("COLUMN event_publisher.leased_until", "When another publisher may take over."),
    ("COLUMN event_publisher.published_at", "When the broker last acknowledged events."),
    ("COLUMN event_publisher.last_error", "Why events of the last round were not acknowledged; NULL if all were."),
    ("TABLE event_positions", "How far the events of each merchant are published. Without a row: none is."),
    ("COLUMN event_positions.merchant", "The merchant."),
    ("COLUMN event_positions.position", "Position of the last event that is published (order_events.position)."),
    ("COLUMN event_positions.order_id", "Order of that event."),
    ("COLUMN event_positions.version", "Version of that event."),
)


def upgrade() -> None:
    """Create the tables. The release before this one does not use them."""
    op.execute(TABLES)
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
