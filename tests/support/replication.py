"""Two PostgreSQL servers in synchronous streaming replication, and what operators and failures do to them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from ci.laptop import launch
from ci.laptop.postgres import ADMINISTRATOR, Postgres, run_tool
from tests.support.databases import Databases
from tests.support.eventually import eventually


class Replicated:
    """A primary whose commits wait for its standby. Both run while the `with` block does, unless a test stops one."""

    def __init__(self, folder: Path) -> None:
        self.primary = Postgres(folder / "primary", durable=False)
        self.standby = Postgres(folder / "standby", durable=False)

    def __enter__(self) -> Replicated:
        self.primary.start()
        configure(self.primary, "ALTER ROLE ALL SET synchronous_commit = on")  # a role's setting wins over the server's
        self.databases = self._databases()
        self.databases.migrate()
        copy(self.primary, self.standby)
        self.standby.start()
        configure(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.wait_for_standby()
        return self

    def __exit__(self, *_: object) -> None:
        self.standby.stop()
        self.primary.stop()

    def wait_for_standby(self) -> None:
        """Wait until commits wait for the standby, and it answers."""
        state = "SELECT sync_state = 'sync' AND state = 'streaming' AS is_sync FROM pg_stat_replication"
        eventually(lambda: [row["is_sync"] for row in query(self.primary, state)] == [True], "a standby follows", 60)

    def _databases(self) -> Databases:
        """Create both databases on the primary. Their URLs name both servers and ask for the one that takes writes."""
        created = Databases.create(self.primary)
        ports = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"

        def both(url: str) -> str:
            url = url.replace(f"127.0.0.1:{self.primary.port}", ports)
            return f"{url}?target_session_attrs=read-write&connect_timeout=2"

        return Databases(
            both(created.order), both(created.payment), both(created.order_service), both(created.payment_service)
        )


def copy(server: Postgres, to: Postgres) -> None:
    """Make a standby of a running server: a copy of its data that follows it once it is started."""
    to.state.mkdir(mode=0o700, parents=True)
    shutil.copy(server.state / "passwords.json", to.state)
    if launch.runs_as_root():
        os.chown(to.state, launch.NOBODY, launch.NOBODY)
    options = ("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast")
    done = run_tool("pg_basebackup", "-d", server.url(ADMINISTRATOR), "-D", str(to.data), *options)
    assert done.returncode == 0, done.stdout


def promote(server: Postgres) -> None:
    """Make a standby the primary, and wait until it takes writes."""
    query(server, "SELECT pg_promote()")
    eventually(lambda: not query(server, "SELECT pg_is_in_recovery() AS it")[0]["it"], "the standby is promoted", 60)


def follow(server: Postgres, primary: Postgres) -> None:
    """Start a server that was stopped as a standby of another. It must have nothing that the other does not have."""
    with (server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = '{primary.url(ADMINISTRATOR)}'\n")
    (server.data / "standby.signal").touch()
    server.start()


def configure(server: Postgres, statement: str) -> None:
    """Execute a statement, and have the server read its settings again."""
    query(server, statement)
    query(server, "SELECT pg_reload_conf()")


def query(server: Postgres, statement: str) -> list[dict[str, Any]]:
    """Execute a statement as the administrator; return its rows. Commits do not wait for a standby."""
    with psycopg.connect(server.url(ADMINISTRATOR), autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SET synchronous_commit = local")
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Stop all processes of a server, as a stuck disk or a paused machine does."""
    processes = [process for process in psutil.process_iter(["cmdline"]) if _belongs(process, server)]
    found = [*processes, *(child for process in processes for child in process.children(recursive=True))]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _belongs(process: psutil.Process, server: Postgres) -> bool:
    return str(server.data) in (process.info["cmdline"] or [])
