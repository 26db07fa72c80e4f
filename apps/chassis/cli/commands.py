"""The commands `flask migrate`, `relay`, `purge` and `keys`."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import click
import psycopg
from flask import Flask

from chassis import config
from chassis.cli import failures, keys
from chassis.cli.values import Seconds
from chassis.config import ConfigError
from chassis.messaging.work import Loop, WorkLoop
from chassis.postgres import migrate, roles
from chassis.postgres.database import UNAVAILABLE, Database, Session, to_json
from chassis.server import admin, listeners
from chassis.service import Service
from chassis.telemetry import logs, metrics, tracing

log = logs.get_logger()


@dataclass(frozen=True, slots=True)
class Old:
    """The rows of a table of merchants that can be purged.

    `condition` is SQL with `%s` for the days. `key` are the columns of the primary key after `merchant`, each with its
    type.
    """

    condition: LiteralString
    key: tuple[LiteralString, ...]


def register(
    app: Flask,
    migrations: str,
    loops: Callable[[], Sequence[WorkLoop]],
    old_rows: Mapping[LiteralString, Old],
    kept: Sequence[str],
) -> None:
    """Add the commands to the application.

    `loops` creates the loops that `flask relay` runs. `old_rows` maps tables to the rows that `flask purge` deletes. It
    adds to, or replaces, those of the tables that every service has. `kept` are the tables whose rows the service never
    deletes, so its role may not.

    Call this before other functions add commands: it makes all commands fail alike (chassis.cli.failures).
    """
    app.cli = failures.Commands(app.name)
    keys.register(app)

    @app.cli.command("migrate")
    @click.option(
        "--wait", type=Seconds(0, 86400), default=30.0, show_default=True, help="Seconds to wait for the database."
    )
    def migrate_command(wait: float) -> None:
        """Migrate this service's database to the newest schema. Safe to repeat, and to run several at once.

        MIGRATION_DATABASE_URL names the role that owns the tables. The role of DATABASE_URL then gets what a service
        needs. Without it, DATABASE_URL is used and its role owns the tables.
        """
        service: Service = app.extensions["tandem"]
        owner_url, service_url = config.migration_url(), service.settings.database_url
        url, role = owner_url or service_url, roles.of_url(service_url) if owner_url else ""
        if owner_url and not role:
            raise ConfigError("DATABASE_URL must name its role if MIGRATION_DATABASE_URL is set")
        named = "MIGRATION_DATABASE_URL" if owner_url else "DATABASE_URL"

        def warn(excess: str) -> None:
            click.echo(f'warning: the role "{role}" of DATABASE_URL {excess}; a service should not', err=True)

        try:
            migrate.wait_for(Database(url, f"{app.name}-migrate"), wait, click.echo)
            before, after = migrate.upgrade(url, migrations, service_role=role, kept=kept, warn=warn)
            for setting in migrate.loses_commits(url, role):
                click.echo(
                    f"warning: PostgreSQL has the setting {setting}: a crash of its machine loses acknowledged "
                    f"{app.name}s; turn it on (docs/production.md, PostgreSQL)",
                    err=True,
                )
        except roles.RoleMissing as error:
            raise click.ClickException(f"{error}: create it (docs/production.md, PostgreSQL)") from error
        except migrate.ForeignSchema as error:
            raise ConfigError(f"{named}: {error}; name the database of {app.name}") from error
        except migrate.Unfit as error:
            raise ConfigError(f"{named}: {error}") from error
        except Exception as error:
            cause = failures.cause(error)
            if not isinstance(cause, psycopg.Error) or isinstance(cause, UNAVAILABLE):
                raise
            # Such as a table of the same name, or an event trigger of the database's host.
            raise failures.DatabaseRefuses(
                f"PostgreSQL refuses a statement of the migration: {failures.reason_of(cause)}"
            ) from error
        click.echo(f"{app.name}: schema {before or 'empty'} -> {after}" if before != after else f"{app.name}: {after}")

    @app.cli.command("relay")
    def relay_command() -> None:
        """Run the background loops of this service until SIGTERM."""
        service: Service = app.extensions["tandem"]
        take_role(service, "relay")
        run_loops(service, loops())

    @app.cli.command("purge")
    def purge_command() -> None:
        """Delete finished rows that are older than IDEMPOTENCY_KEY_DAYS, in small steps."""
        service: Service = app.extensions["tandem"]
        days = service.settings.key_days
        session = service.database.session()
        _require_writes(session)
        counts = [f"{_purge_rate_limits(session)} of rate_limits"]
        counts += [f"{_purge(session, table, old, days)} of {table}" for table, old in {**_OLD, **old_rows}.items()]
        click.echo(f"{app.name}: purged rows older than {days} days: {', '.join(counts)}")


_OLD: dict[LiteralString, Old] = {
    "idempotency_keys": Old("created_at < now() - make_interval(days => %s)", ("key text",)),
    "outbox": Old("created_at < now() - make_interval(days => %s) AND delivered_at IS NOT NULL", ("id uuid",)),
}
_STEP = 5000


def _purge(session: Session, table: LiteralString, old: Old, days: int) -> int:
    """Delete the old rows of a table, a few thousand at a time so that no statement takes long. Returns their number.

    Old rows of all merchants are found by their time. They are deleted merchant by merchant. Rows that another
    transaction holds are left to the next purge. Waiting for them could end in a deadlock, such as with a redelivery,
    which takes rows in another sequence.
    """
    columns = [column.split()[0] for column in old.key]
    wanted, typed = ", ".join(columns), ", ".join(old.key)
    is_free = " AND ".join(f"{table}.{column} = free.{column}" for column in columns)
    total = 0
    while True:
        rows = session.execute(
            f"SELECT merchant, {wanted} FROM {table} WHERE {old.condition} LIMIT {_STEP}", (days,)
        ).fetchall()
        of_merchant: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            of_merchant.setdefault(row["merchant"], []).append({column: str(row[column]) for column in columns})
        deleted = 0
        for merchant, found in of_merchant.items():
            # The condition is checked again, because a row may have changed meanwhile.
            deleted += session.execute(
                f"""DELETE FROM {table} USING (
                        SELECT {wanted} FROM {table} JOIN jsonb_to_recordset(%s::jsonb) AS k({typed}) USING ({wanted})
                        WHERE {table}.merchant = %s AND {old.condition} FOR UPDATE OF {table} SKIP LOCKED) AS free
                    WHERE {table}.merchant = %s AND {is_free}""",
                (to_json(found), merchant, days, merchant),
            ).rowcount
        total += deleted
        if len(rows) < _STEP or not deleted:
            return total


def _require_writes(session: Session) -> None:
    """Raise NoResponse if the database takes no writes.

    A standby does not report that for a DELETE from an unlogged table: it refuses to plan the statement.
    """
    row = session.one("SELECT current_setting('transaction_read_only')::boolean AS is_read_only")
    if row is not None and row["is_read_only"]:
        raise failures.NoResponse("the database is read-only: nothing was purged")


def _purge_rate_limits(session: Session) -> int:
    """Delete the rows of callers that have their whole quota again, as if they had no row. Returns their number."""
    return session.execute("DELETE FROM rate_limits WHERE now() > ALL (full_at)").rowcount


def take_role(service: Service, role: str) -> None:
    """Name what this process measures, traces and connects to the database after its role, such as `relay`.

    Call this before the loops are created.
    """
    metrics.set_role(role)
    tracing.start(service.name, role)
    service.database.name = f"{service.name}-{role}"


def run_loops(service: Service, loops: Sequence[Loop]) -> None:
    """Run each loop in its own thread until SIGTERM or SIGINT. The exit status is 1 if one of them crashes."""
    stopping = threading.Event()

    def stop(*_: Any) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # Opened before the threads start: if the port is in use, the process ends.
    port = service.settings.relay_admin_port
    listener = _listen(port) if port else None
    # Modules live as long as the process. Without this, each full garbage collection visits all of their objects.
    gc.freeze()
    threads = [threading.Thread(target=loop.run, name=loop.name) for loop in loops]
    for thread in threads:
        thread.start()
    service.health.alive = lambda: all(loop.is_alive() for loop in loops)
    if listener is not None:
        admin.serve(listener, service.admin)
    log.info("relay_started", loops=[loop.name for loop in loops])
    while not stopping.wait(1.0) and all(thread.is_alive() for thread in threads):
        pass
    crashed = not stopping.is_set()
    for loop in loops:
        loop.stop()
    for thread in threads:
        thread.join()
    tracing.stop()
    log.info("relay_stopped")
    sys.exit(1 if crashed else 0)


def _listen(port: int) -> socket.socket:
    """Return the listener of the relay's admin port. Raises ConfigError."""
    try:
        return listeners.listen(os.environ.get("HOST", ""), port, "RELAY_ADMIN_PORT")
    except ValueError as error:
        raise ConfigError(str(error)) from error
