"""Who is signed in to the operator's page."""

from alembic import op

revision = "0005"
down_revision = "0004"

# Of a session only the digest is kept, so that a copy of the database lets nobody in; so it is with keys (auth.py).
SESSIONS = """
CREATE TABLE operator_sessions (
    digest     bytea       PRIMARY KEY CHECK (octet_length(digest) = 32),
    key_digest bytea       NOT NULL CHECK (octet_length(key_digest) = 32),
    who        text        NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX operator_sessions_expiring ON operator_sessions (expires_at);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(SESSIONS)
