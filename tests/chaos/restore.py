"""`make restore-drill`: lose the server of both databases under load, restore it, and check the invariants.

The default case is `pitr` (point-in-time recovery): under load, a base backup is taken and WAL is archived. Then a
table is dropped, and the server is lost with its disk. After a restore to the moment before the drop, every invariant
must hold.

In the other cases one database is restored to an older moment, while the other database and the provider keep all of
their data (`order-older`, `payment-older`). Then the commands of docs/production.md are run. After that nobody may be
charged twice, no money may be kept for an order that does not exist, both `reconcile` commands must find nothing, and
each lost order that has a payment must have been listed by name.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import psycopg

from ci.laptop import launch
from ci.laptop.postgres import ADMINISTRATOR, Postgres, run_tool
from tests.chaos import workload
from tests.chaos.__main__ import CALLERS, come_to_rest, print_findings
from tests.chaos.checker import Checker, Finding
from tests.chaos.recovery import Recovery
from tests.chaos.workload import Caller, Log
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.stack import Stack

OLDER = {"order-older": "order", "payment-older": "payment"}
"""The database that is restored to an older moment, by case."""


def main() -> int:
    """Return exit status 1 if an invariant does not hold after the restore."""
    parser = argparse.ArgumentParser(prog="make restore-drill", description=__doc__)
    parser.add_argument("--case", choices=["pitr", *OLDER], default="pitr")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of the load")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    print(f"restore drill: {options.case}, seed {seed}, {options.seconds:.0f} s of load", flush=True)
    with tempfile.TemporaryDirectory(prefix="tandem-restore-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL, which may run as nobody, must be able to enter it
        findings = Drill(Path(folder), seed, options.seconds, options.case).run()
    print_findings(findings)
    broken = sum(bool(finding.wrong) for finding in findings)
    print(f"restore drill: {f'{broken} checks failed' if broken else 'all that is checked holds after the restore'}")
    return 1 if broken else 0


class Drill:
    """A server that is lost and its replacement. `folder` has all files, `seconds` is the duration of the load."""

    def __init__(self, folder: Path, seed: int, seconds: float, case: str) -> None:
        self._folder, self._seed, self._seconds, self._case = folder, seed, seconds, case
        self._log = Log()
        self._archive, self._backups = self._writable("archive"), self._writable("backups")
        self._lost = Postgres(
            folder / "lost",
            settings={
                "archive_mode": "on",
                # Archived files are never overwritten and always complete.
                "archive_command": f"cd {self._archive} && test ! -f %f && cp $OLDPWD/%p .part && mv .part %f",
                "archive_timeout": "5s",
            },
        )

    def run(self) -> list[Finding]:
        """Run load and backups, lose the server, restore it, and return the findings."""
        with self._lost as server:
            databases = databases_of(server)
            databases.migrate()
            with Stack(databases, self._writable("before")) as stack:
                with self._callers(stack):
                    time.sleep(self._seconds / 2)
                    older = now(databases)
                    self._back_up()
                moment = now(databases)
                orders = len(self._log.acknowledged("place", "sketch order"))
                self._say(f"the last of {orders} orders is acknowledged at {moment}")
                self._accident(databases)
                server.stop(signal.SIGKILL)
        shutil.rmtree(self._lost.data)
        self._say("the server is lost with its disk")
        with self._restored(moment) as server:
            if self._case == "pitr":
                return self._check(databases_of(server))
            self._say(f"the {OLDER[self._case]} database is as it was at {older}")
            databases = databases_of(server)
            databases.migrate()  # grants the services' roles what a dump does not contain: to connect
            with Stack(databases, self._writable("after"), only="payment") as stack:
                return Recovery(self._log, databases, stack, older, self._say).run()

    @contextmanager
    def _callers(self, stack: Stack) -> Iterator[None]:
        """Run callers for the duration of the load. The end of the block waits for them."""
        until = time.monotonic() + self._seconds
        urls = stack.order.url, stack.payment.url
        callers = [Caller(number, self._seed, *urls, self._log, until) for number in range(CALLERS)]
        # The provider would keep money of a lost order whose refund or void it declines: no command could return it.
        declined = ("pm_refund_declined", "pm_void_declined")
        methods = [method for method in workload.METHODS if method not in declined]
        with mock.patch.object(workload, "METHODS", methods if self._case != "pitr" else workload.METHODS):
            for caller in callers:
                caller.start()
            try:
                yield
            finally:
                for caller in callers:
                    caller.join()

    # --- backups

    def _back_up(self) -> None:
        """Take a base backup, or a dump of the database that is restored to this moment."""
        if self._case == "pitr":
            url, folder = self._lost.url(ADMINISTRATOR), self._backups / "base"
            tool("pg_basebackup", "-d", url, "-D", str(folder), "--checkpoint=fast", "--wal-method=none")
            self._say("a base backup is taken")
        else:
            self._dump(OLDER[self._case])
            self._say(f"a dump of {OLDER[self._case]} is taken")

    def _dump(self, service: str) -> None:
        tool("pg_dump", "-Fc", "-d", self._lost.url(service), "-f", str(self._backups / service))

    def _accident(self, databases: Databases) -> None:
        """Drop a table, and wait until all WAL is archived. The restore goes back to before the drop."""
        if self._case != "pitr":
            self._dump("payment" if OLDER[self._case] == "order" else "order")
            # The provider is a separate system: it keeps its data, and is not restored to an older state. It is dumped
            # last, because the relays are still at work, and it knows all that the services know of it.
            url, path = self._lost.url("payment"), str(self._backups / "provider")
            tool("pg_dump", "-Fc", "--schema=simulator", "-d", url, "-f", path)
            return
        databases.query("order", "DROP TABLE orders CASCADE")
        with psycopg.connect(self._lost.url(ADMINISTRATOR), autocommit=True) as administrator:
            found = administrator.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert found is not None
            last = self._archive / found[0]
            eventually(last.exists, f"{last.name} is in the archive", 60)
        self._say(f"the table orders was dropped; {len(list(self._archive.iterdir()))} files of WAL are archived")

    # --- the new server

    @contextmanager
    def _restored(self, moment: str) -> Iterator[Postgres]:
        began = time.monotonic()
        state = self._writable("restored")
        shutil.copy(self._lost.state / "passwords.json", state)
        server = Postgres(state, settings=self._recovery(moment))
        if self._case == "pitr":
            (self._backups / "base").rename(server.data)
            (server.data / "recovery.signal").touch()
        with server:
            if self._case == "pitr":
                eventually(lambda: not self._recovering(server), "recovery has ended", 120)
            else:
                self._load_dumps(server)
            self._say(f"a new server is restored after {time.monotonic() - began:.1f} s")
            yield server

    def _recovery(self, moment: str) -> dict[str, str]:
        if self._case != "pitr":
            return {}
        return {
            "restore_command": f"cp {self._archive}/%f %p",
            "recovery_target_time": moment,
            "recovery_target_action": "promote",
        }

    @staticmethod
    def _recovering(server: Postgres) -> bool:
        with psycopg.connect(server.url(ADMINISTRATOR), autocommit=True) as administrator:
            return administrator.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)

    def _load_dumps(self, server: Postgres) -> None:
        for service in ("order", "payment"):
            url = server.create_database(service)
            server.create_service_role(service)  # the dump has grants to it
            tool("pg_restore", "--exit-on-error", "-d", url, str(self._backups / service))
        with psycopg.connect(server.url("payment"), autocommit=True) as connection:
            connection.execute("DROP SCHEMA simulator CASCADE")
        tool("pg_restore", "--exit-on-error", "-d", server.url("payment"), str(self._backups / "provider"))

    def _check(self, databases: Databases) -> list[Finding]:
        """Run both services on the restored databases, and check the invariants when no work is pending."""
        folder = self._writable("after")
        databases.migrate()  # grants the services' roles what a dump does not contain: to connect
        with Stack(databases, folder) as stack:
            rest, left = come_to_rest(databases)
            self._say(f"at rest after {rest:.1f} s" if not left else f"not at rest after {rest:.0f} s: {left}")
            logs = list(folder.glob("*.log"))
            return Checker(self._log, databases, stack.order, stack.payment, logs).check()

    # --- helpers

    def _writable(self, name: str) -> Path:
        """Create a folder that PostgreSQL may write to."""
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        if launch.runs_as_root():
            os.chown(folder, launch.NOBODY, launch.NOBODY)
        return folder

    def _say(self, what: str) -> None:
        print(f"  {what}", flush=True)


def now(databases: Databases) -> str:
    """Return the time of the database server as text, which `--since` and recovery_target_time take."""
    return str(databases.query("order", "SELECT clock_timestamp()::text AS now")[0]["now"])


def databases_of(server: Postgres) -> Databases:
    """Return both databases of a server. They are created if they do not exist."""
    return Databases.create(server)


def tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools. Raises RuntimeError with its output if it fails."""
    done = run_tool(name, *arguments)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stdout}")


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
