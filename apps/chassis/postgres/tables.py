"""SQL of the tables that every service has, for the migrations. Never edit what a released migration uses."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.exc import OperationalError

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


OUTBOX_TURNS = ("outbox_turns", "outbox (merchant, available_at) WHERE delivered_at IS NULL")
"""The name of the index by which merchants take turns in the outbox, and what it is on; for `index_concurrently`."""

OUTBOX_TURNS_COMMENT = "Claims of the relay, in which merchants take turns."


def outbox_indexes(op: Any) -> None:
    """Replace the outbox's two indexes of waiting rows, so that for each search only one of them can be used.

    Both began with the merchant. While the statistics said that nothing was waiting, the planner estimated the same
    cost for both. It then searched all waiting rows of the merchant for the oldest row of an aggregate, once for each
    claimed row: a claim of 64 rows of 3,000 took 190 ms. Now one index begins with the aggregate, and the other one is
    only used for statements with the condition `sequence > 0`. A claim of the release before this one uses the first
    index, and reads all waiting rows.
    """
    index_concurrently(op, "outbox_oldest", "outbox (aggregate_id, merchant, sequence) WHERE delivered_at IS NULL")
    index_concurrently(
        op, "outbox_claims", "outbox (merchant, available_at) WHERE delivered_at IS NULL AND sequence > 0"
    )
    drop_concurrently(op, "outbox_aggregate", "outbox_turns")
    op.execute(comment("INDEX outbox_claims", "Claims of the relay, gauges. All rows have a sequence above zero."))


def index_concurrently(op: Any, name: str, on: str, *, unique: bool = False) -> None:
    """Create an index without blocking writes. `op` is Alembic's.

    This runs outside of a transaction: an interrupted build leaves an invalid index, which is dropped first.
    """
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")


def drop_concurrently(op: Any, *names: str) -> None:
    """Drop indexes without blocking writes. An index that is missing is skipped."""
    with op.get_context().autocommit_block():
        for name in names:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def replace_primary_key(op: Any, table: str, columns: str, *also_dropped: str) -> None:
    """Give a table another primary key without blocking writes, and drop the constraints `also_dropped`.

    The columns must be NOT NULL already, so that the exchange reads no row. It can be repeated.
    """
    index = f"{table}_next_pkey"
    index_concurrently(op, index, f"{table} ({columns})", unique=True)
    drops = ", ".join(f"DROP CONSTRAINT IF EXISTS {name}" for name in (f"{table}_pkey", *also_dropped))
    alter_quickly(op, f"ALTER TABLE {table} {drops}, ADD CONSTRAINT {table}_pkey PRIMARY KEY USING INDEX {index}")


_ATTEMPTS = 60


def alter_quickly(op: Any, statement: str) -> None:
    """Execute a statement that locks a table for a moment; wait for the lock for half a second at most, and try again.

    While it waits, all later statements on the table wait behind it. Runs outside of a transaction. Raises
    sqlalchemy.exc.OperationalError after the last attempt.
    """
    with op.get_context().autocommit_block():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                op.execute(f"SET LOCAL lock_timeout = '500ms'; {statement}")
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", "") != "55P03" or attempt == _ATTEMPTS:
                    raise
                time.sleep(0.5)
            else:
                return


def with_search_path_of(op: Any, table: str, function: str) -> None:
    """Let a function find the tables in the schema of `table`, whatever search_path its caller has."""
    op.execute(f"""
        DO $$
        DECLARE
            place text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = '{table}'::regclass);
        BEGIN
            EXECUTE format('ALTER FUNCTION %1$s.{function} SET search_path = %1$s, pg_temp', place);
        END $$;
    """)


def without_statistics(op: Any, table: str, *columns: str) -> None:
    """Make ANALYZE skip columns on whose statistics no plan depends. Nothing is rewritten, and no statement waits.

    ANALYZE sorts a sample of each column. In a table where most rows are new, autovacuum runs it every few seconds, and
    sorting JSON was half of its work. Reads and writes do not wait for the lock, but it waits for VACUUM and ANALYZE.
    PostgreSQL ends an autovacuum for it after a second. `alter_quickly` would give up before.
    """
    skipped = ", ".join(f"ALTER COLUMN {column} SET STATISTICS 0" for column in columns)
    op.execute(f"ALTER TABLE {table} {skipped}")


def comment(on: str, text: str) -> str:
    """Return SQL for a comment in the database, on an object such as `INDEX outbox_due`."""
    quoted = text.replace("'", "''")
    return f"COMMENT ON {on} IS '{quoted}';\n"


def comments(table: str, about: str, **columns: str) -> str:
    r"""Return SQL for comments in the database, on a table and its columns. psql shows them with `\d+`."""
    of_columns = (comment(f"COLUMN {table}.{name}", text) for name, text in columns.items())
    return comment(f"TABLE {table}", about) + "".join(of_columns)


def outbox_key(op: Any) -> None:
    """Make the merchant a part of the outbox's key, and drop the indexes that this release does not need.

    The key begins with the id, because the release before this one finds rows by their id alone. Its claims find rows
    by `sequence`, which has no index any more: each reads the whole table, 1.4 s for a million rows, while its relay
    runs. See docs/production.md for a rollback. Its command `resync` does not run on this schema.
    """
    replace_primary_key(op, "outbox", "id, merchant", "outbox_id_key")
    drop_concurrently(op, "outbox_due")
    op.execute(comment("COLUMN outbox.sequence", "Insertion order. Only the messages of one aggregate depend on it."))


def outbox_comments(aggregate: str, topics: str) -> str:
    """Return SQL for the comments on the outbox. Its messages concern an `aggregate`, such as "book"."""
    return comments(
        "outbox",
        "Transactional outbox: messages to the other service. A row commits with the change it is about.",
        sequence="Insertion order.",
        id="UUIDv7. The receiver takes it as the idempotency key; it is the same at each attempt.",
        merchant=f"Merchant of the {aggregate}.",
        aggregate_id=f"The {aggregate}. Only its oldest undelivered row is claimed, so its messages arrive in order.",
        topic=topics,
        payload="Body of the message.",
        headers="X-Request-Id and trace context of the request that caused the message; sent with it.",
        attempts="Number of claims.",
        created_at="Time of insertion.",
        available_at="The row is not claimed before this time (backoff).",
        leased_until="End of the lease. After it, any relay may claim the row.",
        lease_owner="Holder of the lease. Only the holder can mark the row delivered.",
        delivered_at="Time of delivery; NULL while the row waits.",
        last_error="Why the last attempt failed.",
    ) + (
        comment("INDEX outbox_due", "Claims of the relay, gauges.")
        + comment("INDEX outbox_aggregate", f"The oldest undelivered row of an {aggregate}.")
        + comment("INDEX outbox_age", "The purge.")
    )


IDEMPOTENCY_KEYS_COMMENTS = comments(
    "idempotency_keys",
    "Idempotency keys and the resources they name. A row commits with the effect of its request; errors store none.",
    merchant="Merchant that sent the key.",
    key="The Idempotency-Key header.",
    fingerprint="SHA-256 of method, path and canonical body. Another request with the same key is refused.",
    status="Status code of the completed request; 201 if it created the resource.",
    resource_id="The resource that the request made or changed. A replay shows it as it is now.",
    created_at="Time of the request. The purge deletes the row IDEMPOTENCY_KEY_DAYS later.",
) + comment("INDEX idempotency_keys_age", "The purge.")

INBOX_COMMENTS = comments(
    "inbox",
    "Written by releases before 0.3 only, and dropped in a later one: events are compared with the row they change.",
    id="The webhook-id of the event.",
    received_at="Time of the first delivery. The purge deletes the row after a day; signatures expire after minutes.",
) + comment("INDEX inbox_age", "The purge.")


def api_keys_comments(scope: str) -> str:
    """Return SQL for the comments on the API keys; `scope` is an example."""
    return comments(
        "api_keys",
        "API keys made by `flask keys create`. Keys of the setting API_KEYS are not stored here.",
        id="Name of the key in `flask keys`, in logs and on the operator's page.",
        digest="SHA-256 of the key. The key itself is not stored.",
        last_four="Last four characters of the key.",
        name="Label.",
        merchant="Merchant that the bearer acts for.",
        scopes=f"What the bearer may do, such as {scope}.",
        lifetime="Validity when the key was made, inherited by its successor in a rotation; NULL for no end.",
        created_at="Time of creation.",
        expires_at="End of validity; NULL for no end.",
        revoked_at="Time of revocation; NULL if it is not revoked.",
    )


RATE_LIMITS_COMMENTS = comments(
    "rate_limits",
    "Used quota by caller (GCRA). Unlogged: a crash of the server gives every caller a full quota.",
    caller="`merchant NAME`, or `address NETWORK` for requests with invalid keys.",
    full_at="For each limit, the time at which the whole quota is available again.",
    passed="Whether the last request was allowed.",
)

ALEMBIC_COMMENTS = comments(
    "alembic_version",
    "The newest migration that was applied; one row.",
    version_num="Its revision, the number in front of its file name.",
)
