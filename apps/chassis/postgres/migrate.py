"""Schema migrations with alembic, safe to run by several processes at once and again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg

from chassis.postgres.database import Database

_LOCK = 7_265_324_001  # any number that nobody else locks in this database


def _script(migrations: str) -> tuple[Any, frozenset[str]]:
    """Alembic's configuration for this folder, and the revisions that are in it."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", migrations.replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    return config, frozenset(script.revision for script in scripts.walk_revisions())


def older_revisions(migrations: str) -> frozenset[str]:
    """The revisions before the head: a database at one of these lacks what the code needs.

    Read from the file names, `NNNN_what.py` with revision NNNN, so that a web process need not load alembic.
    """
    revisions = sorted(path.stem.partition("_")[0] for path in Path(migrations, "versions").glob("[0-9]*.py"))
    return frozenset(revisions[:-1])


def wait_for(database: Database, seconds: float, say: Any) -> None:
    """Return when the database answers. Raises psycopg.OperationalError after so many seconds."""
    deadline = time.monotonic() + seconds
    told = 0.0
    while True:
        try:
            database.connect().close()
        except psycopg.OperationalError as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            if now - told > 5:
                told = now
                say(f"waiting for the database, {deadline - now:.0f} s more: {str(error).splitlines()[0]}")
            time.sleep(min(0.25, deadline - now))
        else:
            return


def upgrade(url: str, migrations: str, to: str = "head") -> tuple[str | None, str | None]:
    """Bring the schema to the newest revision, or to one before; the revisions before and after.

    Another migration that is running is waited for (an advisory lock). Each revision is a transaction.
    A schema that is newer than this code is left as it is.
    """
    from alembic import command
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine, text

    config, known = _script(migrations)
    # The URL is libpq's to read, as everywhere else: SQLAlchemy knows other spellings.
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        # Asked for again and again, not waited for: a waiting statement would hold up an index that is being built.
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            connection.commit()
            time.sleep(0.1)
        connection.commit()
        try:
            before = MigrationContext.configure(connection).get_current_revision()
            connection.commit()
            if before is not None and before not in known:
                # After a rollback the code is older than the schema, which stays compatible with it.
                return before, before
            config.attributes["connection"] = connection
            command.upgrade(config, to)
            connection.commit()
            after = MigrationContext.configure(connection).get_current_revision()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
    engine.dispose()
    return before, after
