"""Redelivery of all events since a time: what is left of it stands at the endpoint."""

from alembic import op

from chassis.postgres import tables

revision = "0015"
down_revision = "0013"

COLUMNS = """
ALTER TABLE webhook_endpoints
    ADD COLUMN IF NOT EXISTS redeliver_since timestamptz,
    ADD COLUMN IF NOT EXISTS redeliver_until timestamptz,
    ADD COLUMN IF NOT EXISTS redeliver_after uuid;
CREATE INDEX IF NOT EXISTS webhook_endpoints_redelivering ON webhook_endpoints (merchant, id)
    WHERE redeliver_since IS NOT NULL;
"""

COMMENTS = (
    ("COLUMN webhook_endpoints.redeliver_since", "Begin of a redelivery that is under way; NULL if none is."),
    (
        "COLUMN webhook_endpoints.redeliver_until",
        "Time at which the redelivery was requested. Later events are not in it.",
    ),
    ("COLUMN webhook_endpoints.redeliver_after", "The last delivery that it has made due; NULL before the first."),
    (
        "COLUMN webhook_endpoints.status",
        "disabled after the endpoint answered 410, or on request. Events are kept meanwhile.",
    ),
    ("INDEX webhook_endpoints_redelivering", "Redeliveries under way, for the webhook loop."),
    ("INDEX webhook_endpoints_enabled", "Read by releases before 0.3. The next release drops it."),
)


def upgrade() -> None:
    """Add the columns, which rewrites no row. The table is small, so its index is built at once."""
    op.execute(COLUMNS)
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
