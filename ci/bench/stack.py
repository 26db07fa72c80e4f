"""What is measured: both services as `make run` starts them, on a database that flushes, and the floor."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg

from chassis.server import gunicorn_conf
from ci import launch
from ci.journey import answers_ok
from ci.laptop import PATIENCE, SERVICES, inherited, migration, service, settings, start_postgres
from ci.ports import ADDRESS, Ports, url
from ci.postgres import ADMINISTRATOR, Postgres, free_port
from ci.state import ROOT, State
from ci.supervisor import Process, Supervisor

PARTS = ("order-web", "order-relay", "payment-web", "payment-relay")


class Stack:
    """Everything that is measured, and what measures it."""

    def __init__(self, supervisor: Supervisor, state: State, with_statistics: bool) -> None:
        self.supervisor, self.state = supervisor, state
        self.ports = Ports(*(free_port() for _ in range(4)))
        self.floor_port = free_port()
        self.keys = state.keys()
        statistics = {"shared_preload_libraries": "pg_stat_statements"} if with_statistics else {}
        self.server = Postgres(state.postgres, settings=statistics)
        self._with_statistics = with_statistics
        self.workers, self.threads = gunicorn_conf.workers, gunicorn_conf.threads
        self._databases: dict[str, str] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._processes: dict[str, Process] = {}

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises supervisor.StartFailed and Stopped."""
        self._databases = start_postgres(self.state, self.supervisor, self.server)
        self._environments = {
            name: {**inherited(), **settings(name, self.ports, self.keys, self._databases[name], self.state)}
            for name in SERVICES
        }
        if self._with_statistics:
            administrator = psycopg.connect(self.server.url(ADMINISTRATOR), dbname="order", autocommit=True)
            administrator.execute("CREATE EXTENSION pg_stat_statements")
            administrator.execute("GRANT EXECUTE ON FUNCTION pg_stat_statements_reset TO PUBLIC")
            administrator.close()
        migrations = (migration(self.state, name, env) for name, env in self._environments.items())
        self.supervisor.finish(*migrations, timeout=PATIENCE)
        started = [process for name, env in self._environments.items() for process in service(self.state, name, env)]
        started.append(self._floor())
        self._processes = {process.name: process for process in started}
        self.supervisor.start(*started)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when both services and the floor answer."""
        admins = (url(port) + "/readyz" for port in (self.ports.order_admin, self.ports.payment_admin))
        for address in (*admins, url(self.floor_port) + "/"):
            self.supervisor.wait_until(partial(answers_ok, address), address, PATIENCE)

    def _floor(self) -> Process:
        argv = [sys.executable, "-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", "ci.bench.floor:app"]
        ports = {"HOST": ADDRESS, "PORT": str(self.floor_port), "ADMIN_PORT": str(free_port())}
        env = {**os.environ, **ports, "PYTHONPATH": f"{ROOT / 'apps'}:{ROOT}"}
        return Process(self.state, "floor", launch.with_parent(argv, "TERM"), env=env)

    def tree(self, *names: str) -> list[psutil.Process]:
        """The processes of these names and all that they started."""
        found = []
        for name in names:
            top = psutil.Process(int((self.state.pids / name).read_text()))
            found += [top, *top.children(recursive=True)]
        return found

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Hold these processes still meanwhile."""
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
        """Kill these processes, and have them started again afterwards."""
        for process in self.tree(*names):
            process.kill()
        try:
            yield
        finally:
            self.supervisor.wait_until(
                lambda: all(self._processes[name].exit_code is None for name in names), "what was killed", PATIENCE
            )
            self.wait_ready()

    def query(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Rows of a statement on the `order` or `payment` database."""
        with psycopg.connect(self._databases[database], autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def cpu(self) -> tuple[float, float]:
        """CPU seconds that the services and their relays, and PostgreSQL, have used so far."""
        return _cpu(self.tree(*PARTS)), _cpu(self.tree("postgres"))

    def memory(self) -> float:
        """What the services and their relays hold, MiB; of what they share each has its part (PSS)."""
        return sum(process.memory_full_info().pss for process in self.tree(*PARTS)) / 2**20

    def start_time(self) -> float:
        """Seconds from the start of another order service to its first 200."""
        port = free_port()
        env = {**self._environments["order"], "PORT": str(port), "ADMIN_PORT": str(free_port())}
        process = service(self.state, "order", env)[0]
        process.name = "order-again"
        began = time.monotonic()
        self.supervisor.start(process)
        self.supervisor.wait_until(partial(answers_ok, f"{url(port)}/readyz"), "another order service", PATIENCE)
        return time.monotonic() - began


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@contextmanager
def started(path: Path, *, with_statistics: bool) -> Iterator[Stack]:
    """A stack with new databases in this folder, stopped and forgotten in the end.

    `with_statistics` lets PostgreSQL count what each statement costs, which costs something itself.
    """
    shutil.rmtree(path, ignore_errors=True)
    supervisor = Supervisor(tell=print, with_parent=False)
    supervisor.stop_on(signal.SIGINT, signal.SIGTERM)
    state = State(path)
    with state.held():
        state.renew()
        stack = Stack(supervisor, state, with_statistics)
        try:
            stack.start()
            yield stack
        finally:
            supervisor.stop()
    shutil.rmtree(path, ignore_errors=True)
