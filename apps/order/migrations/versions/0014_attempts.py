"""Attempts at deliveries are a history: the service's role can add to it, and cannot change it."""

from alembic import op

revision = "0014"
down_revision = "0011"

# DELETE is left to the foreign key: the purge deletes deliveries, and with them their attempts, as the tables' owner.
# The trigger also tells the migration to grant the service's role neither UPDATE nor DELETE (chassis.postgres.roles).
NO_UPDATE = """
CREATE OR REPLACE TRIGGER webhook_attempts_append_only BEFORE UPDATE ON webhook_attempts
    FOR EACH ROW EXECUTE FUNCTION append_only();
"""


def upgrade() -> None:
    """Create the trigger. The release before this one only inserts."""
    op.execute(NO_UPDATE)
