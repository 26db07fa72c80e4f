"""The measured stack: both services as `make run` starts them, on a durable database, and the floor."""

import compileall
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg

from chassis.server import gunicorn_conf
from ci import ROOT
from ci.laptop import launch
from ci.laptop.journey import answers_ok
from ci.laptop.ports import ADDRESS, Ports, free_port, url
from ci.laptop.postgres import ADMINISTRATOR, Postgres
from ci.laptop.services import (
    SERVICES,
    START_TIMEOUT,
    DatabaseUrls,
    inherited,
    migration,
    service,
    settings,
    start_postgres,
)
from ci.laptop.state import State
from ci.laptop.supervisor import Process, Supervisor

MEASURED = ("order-web", "order-relay", "payment-web", "payment-relay")


class Stack:
    """The running processes, and how to query, pause and measure them."""

    def __init__(self, supervisor: Supervisor, state: State, with_statistics: bool) -> None:
        self.supervisor, self.state = supervisor, state
        self.ports = Ports(*(free_port() for _ in range(4)))
        self.floor_port = free_port()
        self.keys = state.keys()
        statistics = {"shared_preload_libraries": "pg_stat_statements"} if with_statistics else {}
        self.server = Postgres(state.postgres, settings=statistics)
        self._with_statistics = with_statistics
        self.workers, self.threads = gunicorn_conf.workers, gunicorn_conf.threads
        self._databases: dict[str, DatabaseUrls] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._processes: dict[str, Process] = {}
        self._sessions: dict[str, psycopg.Connection] = {}

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises StartFailed and Stopped."""
        self._databases = start_postgres(self.state, self.supervisor, self.server)
        self._environments = {
            name: {**inherited(), **settings(name, self.ports, self.keys, self._databases[name].service, self.state)}
            for name in SERVICES
        }
        if self._with_statistics:
            administrator = psycopg.connect(self.server.url(ADMINISTRATOR), dbname="order", autocommit=True)
            administrator.execute("CREATE EXTENSION pg_stat_statements")
            administrator.close()
        migrations = (
            migration(self.state, name, env, self._databases[name].owner) for name, env in self._environments.items()
        )
        self.supervisor.finish(*migrations, timeout=START_TIMEOUT)
        started = [process for name, env in self._environments.items() for process in service(self.state, name, env)]
        started.append(self._floor())
        self._processes = {process.name: process for process in started}
        self.supervisor.start(*started)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until both services and the floor respond."""
        admins = (url(port) + "/readyz" for port in (self.ports.order_admin, self.ports.payment_admin))
        for address in (*admins, url(self.floor_port) + "/"):
            self.supervisor.wait_until(partial(answers_ok, address), address, START_TIMEOUT)

    def _floor(self) -> Process:
        argv = [sys.executable, "-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", "ci.bench.floor:app"]
        ports = {"HOST": ADDRESS, "PORT": str(self.floor_port), "ADMIN_PORT": str(free_port())}
        env = {**os.environ, **ports, "PYTHONPATH": f"{ROOT / 'apps'}:{ROOT}"}
        return Process(self.state, "floor", launch.with_parent(argv, "TERM"), env=env)

    def tree(self, *names: str) -> list[psutil.Process]:
        """Return the processes of these names with all their descendants."""
        found = []
        for name in names:
            top = psutil.Process(int((self.state.pids / name).read_text()))
            found += [top, *top.children(recursive=True)]
        return found

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Suspend these processes for the duration of the block (SIGSTOP)."""
        trees = self.tree(*names)
        for process in trees:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in trees:
                process.send_signal(signal.SIGCONT)

    @contextmanager
    def down(self, *names: str) -> Iterator[None]:
        """Kill these processes. They are restarted after the block."""
        for process in self.tree(*names):
            process.kill()
        try:
            yield
        finally:
            self.supervisor.wait_until(
                lambda: all(self._processes[name].exit_code is None for name in names),
                "the killed processes",
                START_TIMEOUT,
            )
            self.wait_ready()

    def query(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement on the `order` or `payment` database."""
        # One session each: a new one every few milliseconds would slow down what is measured.
        if database not in self._sessions:
            self._sessions[database] = psycopg.connect(self._databases[database].owner, autocommit=True)
        cursor = self._sessions[database].execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the sessions of `query`."""
        for session in self._sessions.values():
            session.close()

    def statistics(self, statement: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement about pg_stat_statements, which only an administrator may read."""
        with psycopg.connect(self.server.url(ADMINISTRATOR), dbname="order", autocommit=True) as session:
            return session.execute(statement.encode()).fetchall()

    def cpu(self) -> tuple[float, float]:
        """Return the CPU seconds used so far by the services with their relays, and by PostgreSQL."""
        return _cpu(self.tree(*MEASURED)), _cpu(self.tree("postgres"))

    def memory(self) -> float:
        """Return the memory of the services and their relays in MiB. Shared memory counts proportionally (PSS)."""
        return sum(process.memory_full_info().pss for process in self.tree(*MEASURED)) / 2**20

    def start_time(self) -> float:
        """Start another order service. Return the seconds until its first 200."""
        port = free_port()
        env = {**self._environments["order"], "PORT": str(port), "ADMIN_PORT": str(free_port())}
        process = service(self.state, "order", env)[0]
        process.name = "order-again"
        began = time.monotonic()
        self.supervisor.start(process)
        self.supervisor.wait_until(partial(answers_ok, f"{url(port)}/readyz"), "another order service", START_TIMEOUT)
        return time.monotonic() - began


def _cpu(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of these processes. One that has just ended, such as a session, is not counted."""
    used = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            used += sum(process.cpu_times()[:2])
    return used


@contextmanager
def started(path: Path, *, with_statistics: bool) -> Iterator[Stack]:
    """Start a stack with new databases in this folder. It is stopped and deleted in the end.

    `with_statistics` makes PostgreSQL collect statistics of each statement, which has a cost itself.
    """
    shutil.rmtree(path, ignore_errors=True)
    # The images contain bytecode. Without it each start would compile all modules if PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(ROOT / "apps", quiet=1)
    supervisor = Supervisor(report=print, with_parent=False)
    supervisor.stop_on(signal.SIGINT, signal.SIGTERM)
    state = State(path)
    with state.locked():
        state.reset()
        stack = Stack(supervisor, state, with_statistics)
        try:
            stack.start()
            yield stack
        finally:
            stack.close()
            supervisor.stop()
    shutil.rmtree(path, ignore_errors=True)
