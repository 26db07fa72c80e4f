"""An event of an order is one row: its id, its position in the feed, and what it changed of the order."""

from alembic import op

from chassis.postgres import tables

revision = "0013"
down_revision = "0012"

# A default is added after its column, so that no existing row is rewritten: earlier events have no position.
# The release before this one writes events without an id. They get one by default.
COLUMNS = """
CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 0::bigint';
COMMENT ON FUNCTION order_events_base() IS
    'What is added to a transaction id to make the position of an event. A restore makes it larger.';
ALTER TABLE order_events
    ADD COLUMN IF NOT EXISTS id       uuid,
    ADD COLUMN IF NOT EXISTS position bigint,
    ADD COLUMN IF NOT EXISTS state    jsonb;
ALTER TABLE order_events
    ALTER COLUMN id SET DEFAULT gen_random_uuid(),
    ALTER COLUMN position SET DEFAULT order_events_base() + pg_current_xact_id()::text::bigint;
ALTER TABLE webhook_deliveries
    ADD COLUMN IF NOT EXISTS order_version bigint,
    ALTER COLUMN payload DROP NOT NULL;
"""

# The service's role does not own the function that this one replaces, so it runs with the rights of its owner.
# The lock waits for the writers of events: none of them has a position below those that the new base makes.
ADVANCE = """
CREATE OR REPLACE FUNCTION advance_order_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE order_events IN SHARE ROW EXCLUSIVE MODE;
    EXECUTE format('CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql STABLE AS %L',
                   'SELECT ' || order_events_base() + (1::bigint << 48) || '::bigint');
END $$;
COMMENT ON FUNCTION advance_order_events() IS
    'After a restore: lets the positions of new events begin behind all positions that were handed out before.';
"""

COMMENTS = (
    ("COLUMN order_events.id", "Id of the event, a UUIDv7. Also the webhook-id of its deliveries. NULL before 0.3."),
    (
        "COLUMN order_events.position",
        "Transaction id plus order_events_base(). Events are read in this order.",
    ),
    (
        "COLUMN order_events.state",
        "What can change of an order, as it was after the event: payment_method, paid_amount, refunded_amount, "
        "payment, last_error. Without members that are 0 or null.",
    ),
    (
        "COLUMN order_events.data",
        "Details: payment_id, payment_status, payment_method, failure_reason, capture_amount, refund_amount, "
        "refund_id.",
    ),
    (
        "COLUMN webhook_deliveries.order_version",
        "Version of the order after the event; with order_id it names the event.",
    ),
    (
        "COLUMN webhook_deliveries.payload",
        "Body of a test event. NULL for an event of an order, whose body is made from order_events when it is sent.",
    ),
)


def upgrade() -> None:
    """Add the columns, which rewrites no row, and create the index of the feed without blocking writes.

    Each part can be repeated, because the first one is committed before the index is built. Until a rollout is
    complete, a relay of the release before this one cannot send the deliveries that have no payload: it logs an error,
    and a relay of this release claims them when the lease has expired.
    """
    op.execute(COLUMNS)
    op.execute(ADVANCE)
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
    tables.index_concurrently(op, "order_events_feed", "order_events (merchant, position) WHERE position IS NOT NULL")
    op.execute(tables.comment("INDEX order_events_feed", "The feed of events. Events before 0.3 are not in it."))
