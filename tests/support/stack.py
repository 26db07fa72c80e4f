"""Both services as real processes, as in production: gunicorn and `flask relay`. Processes that end are restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from ci import ROOT
from ci.laptop import launch
from ci.laptop.ports import free_port
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import Client
from tests.support.settings import environment


@dataclass
class Process:
    """A process and its children, which are one process group."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                launch.with_parent(self.argv, "KILL"),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def kill(self, by: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process group."""
        assert self.running is not None
        try:
            os.killpg(self.running.pid, by)
        except ProcessLookupError:
            return

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self.running is not None and self.running.poll() is not None


class Stack:
    """The web and relay processes of order and payment, on one pair of databases, while the `with` block runs.

    Processes that end are restarted, unless their name is in `held`. With `ready=False`, the start does not wait until
    the services are ready. With `only`, one service is started; `start` starts the other one. `apps` is another copy of
    the product's code; `settings` are additional environment variables, `order_settings` those of order alone. `peers`
    may be changed before the start, to put a proxy between the services. With `reads`, the services have a URL for
    reads, which is that of their own database.
    """

    def __init__(
        self,
        databases: Databases,
        folder: Path,
        *,
        ready: bool = True,
        only: str | None = None,
        apps: Path | None = None,
        settings: Mapping[str, str] | None = None,
        order_settings: Mapping[str, str] | None = None,
        reads: bool = False,
    ) -> None:
        self.folder, self._settings, self._order_settings = folder, settings or {}, order_settings or {}
        self.databases, self._ready, self._apps = databases, ready, apps or ROOT / "apps"
        self._only, self._reads = only, reads
        # Of order and payment.
        self.service_ports = (free_port(), free_port())
        self.admin_ports = (free_port(), free_port())
        order_port, payment_port = self.service_ports
        self.order = Client(f"http://127.0.0.1:{order_port}")
        self.payment = Client(f"http://127.0.0.1:{payment_port}")
        self.peers = {"PAYMENT_URL": self.payment.url, "ORDER_URL": self.order.url}
        self.processes: dict[str, Process] = {}
        self.held: set[str] = set()
        self._ending = threading.Event()

    @property
    def armed(self) -> Path:
        """The file that names the step at which a process crashes (see crash.py)."""
        return self.folder / "armed"

    def __enter__(self) -> Self:
        for service, port, admin_port in zip(("order", "payment"), self.service_ports, self.admin_ports, strict=True):
            metrics = self.folder / f"metrics-{service}"
            metrics.mkdir()
            env = {
                **os.environ,
                **environment(self.databases.service_url(service), self.peers),
                "PYTHONPATH": os.pathsep.join([str(self._apps), str(ROOT)]),
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "ADMIN_PORT": str(admin_port),
                "PROMETHEUS_MULTIPROC_DIR": str(metrics),
                "SWEEP_SECONDS": "5",
                **({"READ_DATABASE_URL": self.databases.service_url(service)} if self._reads else {}),
                **self._settings,
                **(self._order_settings if service == "order" else {}),
            }
            commands = {
                "web": ["gunicorn", "-c", "python:chassis.server.gunicorn_conf", f"{service}:create_app()"],
                "relay": ["flask", "--app", service, "relay"],
            }
            for role, command in commands.items():
                name = f"{service}-{role}"
                crash = [sys.executable, "-m", "tests.support.crash", str(self.armed), service]
                self.processes[name] = Process(name, [*crash, *command], dict(env), self.folder / f"{name}.log")
        for process in self.processes.values():
            if self._only is None or process.name.startswith(self._only):
                process.start()
        self._supervisor = threading.Thread(target=self._supervise)
        self._supervisor.start()
        try:
            for service in ("order", "payment") if self._ready else ():
                if self._only in (None, service):
                    self._await(service)
        except BaseException as error:  # nobody would stop the processes, which are started again for ever
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._supervisor.join()
        started = [process for process in self.processes.values() if process.running is not None]
        for process in started:
            process.kill()
            assert process.running is not None
            process.running.wait(30)
        if error is not None:
            for process in started:
                print(f"--- {process.name}", *process.log.read_text(errors="replace").splitlines()[-15:], sep="\n")

    def start(self, service: str) -> None:
        """Start the processes of a service that was left out, and wait until it is ready."""
        for name, process in self.processes.items():
            if name.startswith(service) and process.running is None:
                process.start()
        self._await(service)

    def _await(self, service: str) -> None:
        client = self.order if service == "order" else self.payment
        eventually(lambda: answers(client, "/readyz"), f"{service} is ready", 60)

    def command(self, service: str, *arguments: str) -> tuple[int, str]:
        """Run `flask --app SERVICE ARGUMENTS` with the settings of the service's processes.

        Returns the exit status and the output.
        """
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", service, *arguments],
            env=self.processes[f"{service}-relay"].env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    def _supervise(self) -> None:
        while not self._ending.wait(0.05):
            for process in self.processes.values():
                if process.is_dead and process.name not in self.held:
                    process.kill()  # remaining processes of its group would still hold the port
                    process.start()


def answers(client: Client, path: str) -> bool:
    """Return whether a GET request for the path is answered with 200."""
    try:
        return client.get(path).status_code == 200
    except requests.ConnectionError:
        return False
