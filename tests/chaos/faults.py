"""Random faults from a seed: processes killed and paused, the database stopped, connections cut and delayed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import psycopg

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.proxy import Proxy
from tests.support.stack import Stack


class Faults(threading.Thread):
    """Causes one fault after another until `until`, on the monotonic clock. At the end all faults are repaired."""

    def __init__(
        self, seed: int, stack: Stack, server: Postgres, databases: Databases, proxies: list[Proxy], until: float
    ) -> None:
        super().__init__(name="faults")
        self._random = random.Random(f"{seed}/faults")
        self._stack, self._server, self._databases, self._proxies = stack, server, databases, proxies
        self._until = until
        self.injected: Counter[str] = Counter()
        self.now = ""
        self.error: BaseException | None = None

    def run(self) -> None:
        """Cause a fault, repair it, wait a little, and repeat."""
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._kill, 30),
            (self._pause, 12),
            (self._cut, 20),
            (self._delay, 8),
            (self._forget_leases, 12),
            (self._drop_connections, 8),
            (self._stop_database, 4),
            (self._kill_database, 4),
        ]
        faults, weights = zip(*kinds, strict=True)
        try:
            while self._rest(0.2, 1.2):
                self._random.choices(faults, weights)[0]()
                self.now = ""
        except BaseException as error:
            self.error = error
            raise
        finally:
            for proxy in self._proxies:
                proxy.mode = "pass"

    def _rest(self, least: float, most: float) -> bool:
        """Wait for a random time. Return False when the run is over."""
        time.sleep(max(0.0, min(self._random.uniform(least, most), self._until - time.monotonic())))
        return time.monotonic() < self._until

    def _begin(self, what: str) -> None:
        self.now = what
        self.injected[what] += 1

    def _kill(self) -> None:
        name = self._random.choice(sorted(self._stack.processes))
        self._begin(f"kill -9 {name}")
        self._stack.processes[name].kill()

    def _pause(self) -> None:
        name = self._random.choice(["payment-web", "payment-relay", "order-relay"])
        self._begin(f"SIGSTOP {name}")
        process = self._stack.processes[name]
        process.kill(signal.SIGSTOP)
        self._rest(0.5, 3.0)
        process.kill(signal.SIGCONT)

    def _cut(self) -> None:
        proxy = self._random.choice(self._proxies)
        mode = self._random.choice(["refuse", "cut_request", "cut_response"])
        self._begin(f"network: {mode.replace('_', ' ')}")
        proxy.mode = mode
        self._rest(0.3, 2.0)
        proxy.mode = "pass"

    def _delay(self) -> None:
        proxy = self._random.choice(self._proxies)
        self._begin("network: delay")
        proxy.delay(self._random.uniform(0.2, 1.5))
        self._rest(0.5, 2.0)
        proxy.mode = "pass"

    def _forget_leases(self) -> None:
        """End all leases, as if the clock had jumped: no worker still holds its rows."""
        self._begin("leases run out early")
        for service, table in (("order", "outbox"), ("payment", "outbox"), ("payment", "operations")):
            self._sql(service, f"UPDATE {table} SET leased_until = now() WHERE leased_until > now()")

    def _drop_connections(self) -> None:
        self._begin("database connections dropped")
        for service in ("order", "payment"):
            self._sql(
                service,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
            )

    def _sql(self, service: str, statement: str) -> None:
        # As the service's role: another one may not end its sessions.
        with psycopg.connect(self._databases.service_url(service), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _stop_database(self) -> None:
        self._begin("PostgreSQL stopped")
        self._server.stop(signal.SIGINT)
        self._rest(0.3, 2.0)
        self._server.start()

    def _kill_database(self) -> None:
        self._begin("PostgreSQL kill -9")
        self._server.stop(signal.SIGKILL)
        self._rest(0.1, 1.0)
        self._server.start()
