"""SQL of the tables that every service has, for the migrations. Never edit what a released migration uses."""

from __future__ import annotations

from typing import Any

OUTBOX = """
CREATE TABLE outbox (
    sequence     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    merchant     text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    topic        text        NOT NULL,
    payload      jsonb       NOT NULL,
    headers      jsonb       NOT NULL DEFAULT '{}',
    attempts     integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    available_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    lease_owner  text,
    delivered_at timestamptz,
    last_error   text
) WITH (fillfactor = 70);
CREATE INDEX outbox_due ON outbox (sequence) WHERE delivered_at IS NULL;
CREATE INDEX outbox_aggregate ON outbox (merchant, aggregate_id, sequence) WHERE delivered_at IS NULL;
CREATE INDEX outbox_age ON outbox USING brin (created_at);
"""

IDEMPOTENCY_KEYS = """
CREATE TABLE idempotency_keys (
    merchant    text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    status      integer     NOT NULL,
    resource_id uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys USING brin (created_at);
"""

INBOX = """
CREATE TABLE inbox (
    id          text        PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX inbox_age ON inbox USING brin (received_at);
"""

API_KEYS = """
CREATE TABLE api_keys (
    id         integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     bytea       NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    last_four  text        NOT NULL,
    name       text        NOT NULL,
    merchant   text        NOT NULL,
    scopes     text[]      NOT NULL,
    lifetime   interval,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);
"""

# Unlogged: after a crash of the database server all quotas are full again, which is acceptable.
RATE_LIMITS = """
CREATE UNLOGGED TABLE rate_limits (
    caller  text          PRIMARY KEY,
    full_at timestamptz[] NOT NULL,
    passed  boolean       NOT NULL
) WITH (fillfactor = 50);
"""

APPEND_ONLY = """
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
"""


def append_only(table: str) -> str:
    """Return SQL that makes a table reject UPDATE, DELETE and TRUNCATE. Execute APPEND_ONLY before it."""
    return f"""
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION append_only();
"""


def index_concurrently(op: Any, name: str, on: str) -> None:
    """Create an index without blocking writes. `op` is Alembic's.

    This runs outside of a transaction: an interrupted build leaves an invalid index, which is dropped first.
    """
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
