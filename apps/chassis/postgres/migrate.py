"""Schema migrations with Alembic. Several processes may run them at once, and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from chassis.postgres import roles
from chassis.postgres.database import Database, servers

_LOCK = 7_265_324_001  # the key of an advisory lock; nothing else in the database uses it


def _script(migrations: str) -> tuple[Any, frozenset[str]]:
    """Return Alembic's configuration for this folder, and the revisions in it."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", migrations.replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    return config, frozenset(script.revision for script in scripts.walk_revisions())


def older_revisions(migrations: str) -> frozenset[str]:
    """Return the revisions before the newest one: the schema of a database at one of them is older than the code.

    They are read from the names of the files, `NNNN_what.py` for revision NNNN, so web processes do not load Alembic.
    """
    revisions = sorted(path.stem.partition("_")[0] for path in Path(migrations, "versions").glob("[0-9]*.py"))
    return frozenset(revisions[:-1])


def wait_for(database: Database, seconds: float, say: Callable[[str], None]) -> None:
    """Wait until the database accepts a connection; tell `say` about it every 5 seconds.

    Raises psycopg.OperationalError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    said = 0.0
    while True:
        try:
            database.connect().close()
        except psycopg.OperationalError as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            if now - said > 5:
                said = now
                say(f"waiting for the database, up to {deadline - now:.0f} s: {str(error).splitlines()[0]}")
            time.sleep(min(0.25, deadline - now))
        else:
            return


class ForeignSchema(Exception):
    """The database has the schema of another service: its revisions say nothing about this one."""


class Unfit(Exception):
    """The database cannot be migrated as it is. The message says why, and what to do."""


# An index of a large table takes longer than a host's limits for requests. What the URL itself sets is kept.
_WITHOUT_LIMITS: LiteralString = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE source <> 'client' AND name IN
    ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
"""

_UNFIT: LiteralString = """
SELECT 'this database has the encoding ' || current_setting('server_encoding')
       || '; create it with ENCODING ''UTF8'' TEMPLATE template0'
WHERE current_setting('server_encoding') <> 'UTF8'
UNION ALL
SELECT 'the search_path of ' || quote_ident(current_user) || ' names no schema that exists; let it begin with that of '
       || 'the tables, such as public'
WHERE current_schema() IS NULL
UNION ALL
SELECT 'the table ' || relname || ' belongs to the role ' || relowner::regrole || ', not to '
       || quote_ident(current_user) || '; change the owner of all tables, or load the dump as '
       || quote_ident(current_user)
FROM pg_class WHERE oid IN (to_regclass('alembic_version'), to_regclass(%s)) AND NOT pg_has_role(relowner, 'USAGE')
LIMIT 1
"""


# If the service has a role of its own, what this role or the database sets wins over the server's setting, and
# roles.grant warns of it.
_LOSES_COMMITS: LiteralString = """
SELECT name || '=' || setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
   OR name = 'synchronous_commit' AND setting IN ('off', 'local') AND (%(role)s IN ('', current_user) OR
      source NOT IN ('global', 'database', 'user', 'database user', 'client', 'session') AND NOT EXISTS (
          SELECT FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS own
          WHERE own LIKE 'synchronous_commit=%%' AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = %(role)s))
            AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))))
ORDER BY name
"""


def loses_commits(url: str, service_role: str = "") -> list[str]:
    """Return the server's settings with which a crash loses acknowledged commits, such as `fsync=off`.

    `service_role` is as in `upgrade`. A setting of that role alone is not returned.
    """
    with _connect(url, autocommit=True) as connection:
        return [setting for (setting,) in connection.execute(_LOSES_COMMITS, {"role": service_role}).fetchall()]


def _connect(url: str, *, autocommit: bool) -> psycopg.Connection:
    """Return a connection for migrations. libpq reads the URL, as everywhere else: SQLAlchemy has another syntax."""
    connection = psycopg.connect(url, autocommit=True, client_encoding="utf8", **servers(url))
    connection.execute(_WITHOUT_LIMITS)
    connection.autocommit = autocommit
    return connection


def upgrade(
    url: str,
    migrations: str,
    to: str = "head",
    *,
    service_role: str = "",
    kept: Sequence[str] = (),
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[str | None, str | None]:
    """Migrate the schema to the newest revision, or to revision `to`; return the revisions before and after.

    Waits for a migration that another process runs (an advisory lock). Each revision is one transaction. A schema that
    is newer than this code is not changed.

    If `service_role` names another role than that of `url`, which owns the tables, it gets the privileges that a
    service needs, also if the schema is current. It may delete no row of the tables `kept`. `warn` is told what it may
    do beyond that, one sentence without a subject for each. Raises roles.RoleMissing, ForeignSchema or Unfit before
    anything is changed.
    """
    from alembic import command
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine, text

    config, known = _script(migrations)
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(url, autocommit=False))
    with _connect(url, autocommit=True) as owner, engine.connect() as connection:
        unfit = owner.execute(_UNFIT, (kept[0] if kept else "alembic_version",)).fetchone()
        if unfit is not None:
            raise Unfit(unfit[0])
        needs_grants = bool(service_role) and roles.check(owner, service_role)
        # Polled, because a statement that waits for the lock would block CREATE INDEX CONCURRENTLY in the migration.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            connection.commit()
            time.sleep(0.1)
        connection.commit()
        try:
            before = after = MigrationContext.configure(connection).get_current_revision()
            is_own = (
                before is None
                or not kept
                or connection.scalar(text("SELECT to_regclass(:table) IS NOT NULL"), {"table": kept[0]})
            )
            connection.commit()
            if not is_own:
                raise ForeignSchema(f"this database has the schema of another program, and no table {kept[0]}")
            # An unknown revision: the code was rolled back. Migrations are compatible with the code before them.
            if before is None or before in known:
                config.attributes["connection"] = connection
                command.upgrade(config, to)
                connection.commit()
                after = MigrationContext.configure(connection).get_current_revision()
                connection.commit()
            if needs_grants:
                for excess in roles.grant(owner, service_role, kept):
                    warn(excess)
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
    engine.dispose()
    return before, after
