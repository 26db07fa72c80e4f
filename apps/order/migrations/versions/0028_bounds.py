"""Payments without an order are found merchant by merchant, and the positions of events can be advanced so far only."""

from alembic import op

from chassis.postgres import tables

revision = "0028"
down_revision = "0026"

# As in 0013, with a limit: the service's role may call this function, and a base near the largest bigint would leave no
# positions, so that no order could be placed. The limit is reached after 16,384 calls.
ADVANCE = """
CREATE OR REPLACE FUNCTION advance_order_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    LOCK TABLE order_events IN SHARE ROW EXCLUSIVE MODE;
    IF order_events_base() >= 1::bigint << 62 THEN
        RAISE EXCEPTION 'the positions of events were advanced too often' USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql STABLE AS %L',
                   'SELECT ' || order_events_base() + (1::bigint << 48) || '::bigint');
END $$;
"""


def upgrade() -> None:
    """Replace the function, and build the index without blocking writes. The release before this one runs with both."""
    op.execute(ADVANCE)
    tables.index_concurrently(
        op,
        "orphan_payments_turns",
        "orphan_payments (merchant, first_seen_at)"
        " WHERE status IN ('processing', 'authorized') OR captured_amount > refunded_amount",
    )
    op.execute(tables.comment("INDEX orphan_payments_turns", "The sweep, in which merchants take turns."))
