"""Three PostgreSQL servers under Patroni, with an etcd: all on the loopback address, in one folder.

Each member is reached by the others through links, and reaches etcd through one: a partition cuts a member's links.
Callers are not behind them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import psutil
import requests

from ci import ROOT
from ci.laptop import launch
from ci.laptop.ports import ADDRESS, free_port
from ci.laptop.postgres import ADMINISTRATOR, Postgres, binary
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.link import Link

T = TypeVar("T")

PATRONI = ROOT / ".cache" / "failover" / "bin" / "patroni"
NAMES = ("a", "b", "c")
START = 120.0
"""Seconds within which the cluster must be complete: at the start, and after a fault is repaired."""

TTL, LOOP_WAIT, RETRY = 20, 2, 3
"""Seconds: how long a leader is one without renewing its lock, and Patroni's other two; 20 is Patroni's minimum."""


class Inconclusive(Exception):
    """The drill can't run or go on: a program is missing, or the cluster does not recover. The message says why."""


def wait_for(look: Callable[[], T], what: str, seconds: float) -> T:
    """Call `look` until it returns a true value, and return that. Raises Inconclusive after the given seconds."""
    try:
        return eventually(look, what, seconds)
    except AssertionError as error:
        raise Inconclusive(str(error)) from error


def programs() -> tuple[str, str]:
    """Return the paths of etcd and Patroni. Raises Inconclusive."""
    etcd = shutil.which(os.environ.get("TANDEM_ETCD", "etcd"))
    if etcd is None:
        raise Inconclusive("etcd is not on PATH (Debian: apt-get install etcd-server; TANDEM_ETCD names another path)")
    if not PATRONI.exists():
        raise Inconclusive(f"{PATRONI} does not exist: `make failover-drill` installs it")
    return etcd, str(PATRONI)


class Member:
    """A PostgreSQL server and the Patroni that runs it."""

    def __init__(self, name: str, folder: Path, patroni: str, etcd: Link, passwords: Postgres) -> None:
        """`etcd` is this member's link to etcd; `passwords` knows the administrator's password."""
        self.name = name
        self.data = folder / "data"
        self.log = folder / "patroni.log"
        self.port, self._api_port = free_port(), free_port()
        self._folder, self._patroni, self._passwords = folder, patroni, passwords
        self._links = [etcd, Link(self.port), Link(self._api_port)]
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL. A member without data copies them from the leader."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                launch.without_root([self._patroni, str(self._folder / "patroni.json")], "TERM"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )

    def prepare(self, running: ExitStack) -> None:
        """Make the member's folder and its links, which last as long as `running`."""
        self._folder.mkdir(mode=0o700)
        for link in self._links:
            running.enter_context(link)
        path = self._folder / "patroni.json"
        path.write_text(json.dumps(self._configuration(), indent=2))
        if launch.runs_as_root():
            for each in (self._folder, path):
                os.chown(each, launch.NOBODY, launch.NOBODY)

    def processes(self) -> list[psutil.Process]:
        """Return the processes of this member: Patroni first."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter(["cmdline"]):
            if str(self._folder / "patroni.json") in (process.info["cmdline"] or []):
                found.insert(0, process)
            elif str(self.data) in " ".join(process.info["cmdline"] or []):
                found.append(process)
        return [*found, *(child for process in found for child in _children(process) if child not in found)]

    def signal(self, by: signal.Signals) -> None:
        """Send a signal to all processes of this member."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(by)

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL, and wait until they are gone."""
        while processes := self.processes():
            self.signal(signal.SIGKILL)
            psutil.wait_procs(processes, 10)
            if self._running is not None:
                self._running.wait(10)

    def lose_data(self) -> None:
        """Remove the data directory."""
        shutil.rmtree(self.data, ignore_errors=True)

    def cut(self) -> None:
        """Cut the member off from etcd and from the other members."""
        for link in self._links:
            link.cut()

    def heal(self) -> None:
        """End a cut."""
        for link in self._links:
            link.heal()

    def members(self) -> list[dict[str, Any]]:
        """Return the members of the cluster as this Patroni sees them. Empty if it does not answer."""
        try:
            answer = requests.get(f"http://{ADDRESS}:{self._api_port}/cluster", timeout=2)
            members: list[dict[str, Any]] = answer.json()["members"]
        except (requests.RequestException, KeyError):
            return []
        return members

    def url(self) -> str:
        """Return the URL of this server's own database for the administrator."""
        password = urlsplit(self._passwords.url(ADMINISTRATOR)).password
        return f"postgresql://{ADMINISTRATOR}:{password}@{ADDRESS}:{self.port}/{ADMINISTRATOR}"

    def _configuration(self) -> dict[str, Any]:
        etcd, server, api = self._links
        password = urlsplit(self._passwords.url(ADMINISTRATOR)).password
        replication = urlsplit(self._passwords.url("replication")).password
        return {
            "scope": "tandem",
            "name": self.name,
            "restapi": {
                "listen": f"{ADDRESS}:{self._api_port}",
                "connect_address": f"{ADDRESS}:{api.port}",
            },
            "etcd3": {"hosts": f"{ADDRESS}:{etcd.port}", "use_proxies": True},  # so that it knows no other way
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY,
                    "synchronous_mode": "quorum",
                    "synchronous_mode_strict": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 200}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": f"{ADDRESS}:{self.port}",
                "connect_address": f"{ADDRESS}:{server.port}",
                "data_dir": str(self.data),
                "bin_dir": str(Path(binary("postgres")).parent),
                "pgpass": str(self._folder / "pgpass"),
                "authentication": {
                    "superuser": {"username": ADMINISTRATOR, "password": password},
                    "replication": {"username": "replication", "password": replication},
                },
                "parameters": {"unix_socket_directories": "", "timezone": "UTC", "log_timezone": "UTC"},
                "pg_hba": [
                    f"host replication replication {ADDRESS}/32 scram-sha-256",
                    f"host all all {ADDRESS}/32 scram-sha-256",
                ],
                "basebackup": {"checkpoint": "fast"},
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }


class Cluster:
    """The members and etcd. They run while the `with` block does."""

    def __init__(self, folder: Path) -> None:
        """Raises Inconclusive."""
        self._etcd, patroni = programs()
        self._folder = folder
        folder.mkdir()
        folder.chmod(0o755)
        self._passwords = Postgres(folder / "passwords")
        self._passwords.state.mkdir(mode=0o700)
        self._etcd_port = free_port()
        self._running = ExitStack()
        self.members = {
            name: Member(name, folder / name, patroni, Link(self._etcd_port), self._passwords) for name in NAMES
        }

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            for member in self.members.values():
                member.prepare(self._running)
                self._running.callback(member.kill)
                member.start()
            self.wait_until_complete()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members.values():
            if error is not None and member.log.exists():
                print(f"--- {member.name}", *member.log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        self._running.close()

    def _start_etcd(self) -> None:
        url, peer = f"http://{ADDRESS}:{self._etcd_port}", f"http://{ADDRESS}:{free_port()}"
        options = {
            "name": "drill",
            "data-dir": str(self._folder / "etcd"),
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"drill={peer}",
        }
        argv = [self._etcd, *(f"--{name}={value}" for name, value in options.items())]
        with (self._folder / "etcd.log").open("ab") as log:
            process = subprocess.Popen(
                launch.with_parent(argv, "KILL"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.callback(process.wait)
        self._running.callback(process.kill)
        wait_for(lambda: _answers(f"{url}/health"), f"etcd answers (see {self._folder}/etcd.log)", 60)

    def leader(self) -> Member | None:
        """Return the leader, as the first member that answers sees it; None if there is none."""
        for member in self.members.values():
            for each in member.members():
                if each["role"] == "leader":
                    return self.members[each["name"]]
        return None

    def is_complete(self) -> bool:
        """Return whether there is a leader that two synchronous standbys follow, and all members agree."""
        for member in self.members.values():
            seen = sorted((each["role"], each["state"]) for each in member.members())
            if seen != [("leader", "running"), *[("quorum_standby", "streaming")] * 2]:
                return False
        return True

    def wait_until_complete(self) -> None:
        """Wait until the cluster is complete. Raises Inconclusive after START seconds."""
        wait_for(self.is_complete, "a leader and two synchronous standbys", START)

    def create_databases(self) -> Databases:
        """Create both databases. Their URLs name all members and ask for the one that accepts writes."""
        leader = self.leader()
        assert leader is not None
        self._passwords.port = leader.port
        created = Databases.create(self._passwords)
        ports = ",".join(f"{ADDRESS}:{member.port}" for member in self.members.values())

        def all_members(url: str, more: str = "") -> str:
            return url.replace(f"{ADDRESS}:{leader.port}", ports) + f"?target_session_attrs=read-write{more}"

        owners = [all_members(url, "&connect_timeout=2") for url in (created.order, created.payment)]
        return Databases(*owners, *map(all_members, (created.order_service, created.payment_service)))


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _children(process: psutil.Process) -> Sequence[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = process.children(recursive=True)
        return found
    return []
