"""A dump of the data alone can be loaded: pg_dump leaves the search_path empty."""

from alembic import op

revision = "0017"
down_revision = "0016"

SEARCH_PATH = """
DO $$
DECLARE
    place text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'ledger_entries'::regclass);
BEGIN
    EXECUTE format('ALTER FUNCTION %1$s.ledger_balances() SET search_path = %1$s, pg_temp', place);
END $$;
"""


def upgrade() -> None:
    """Let the trigger of the ledger find its table, whatever search_path a writer has."""
    op.execute(SEARCH_PATH)
