"""A dump of the data alone can be loaded: pg_dump leaves the search_path empty."""

from alembic import op

from chassis.postgres import tables

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Let the trigger of the ledger find its table, whatever search_path a writer has."""
    tables.with_search_path_of(op, "ledger_entries", "ledger_balances()")
