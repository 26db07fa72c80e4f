"""`order resync` works if the tables are in another schema than `public`."""

from alembic import op

revision = "0032"
down_revision = "0031"

SEARCH_PATH = """
DO $$
DECLARE
    place text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'order_events'::regclass);
BEGIN
    EXECUTE format('ALTER FUNCTION %1$s.advance_order_events() SET search_path = %1$s, pg_temp', place);
END $$;
"""


def upgrade() -> None:
    """Let the function that runs with the rights of its owner find the tables where they are."""
    op.execute(SEARCH_PATH)
