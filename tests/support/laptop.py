"""`make run` as a user sees it: real processes with a state directory of the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from ci import ROOT
from ci.laptop.ports import free_port
from tests.support.eventually import eventually

DEADLINE = 60
# As in `make run`.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "apps"), str(ROOT / "apps" / "client")])}


def free_ports() -> dict[str, str]:
    names = ("ORDER_PORT", "PAYMENT_PORT", "ORDER_ADMIN_PORT", "PAYMENT_ADMIN_PORT")
    return {name: str(free_port()) for name in names}


@dataclass
class Laptop:
    """A running `make run`."""

    state: Path
    ports: dict[str, str]
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, state: Path, ports: dict[str, str] | None = None) -> Laptop:
        state.mkdir(exist_ok=True)
        ports = ports or free_ports()
        with (state / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ci.laptop", "--state", str(state)],
                cwd=ROOT,
                env={**ENVIRONMENT, **ports},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(state, ports, process)

    @property
    def output(self) -> str:
        return (self.state / "output").read_text()

    @property
    def env(self) -> dict[str, str]:
        """The variables that a shell gets from sourcing the file `env`."""
        shell = ["sh", "-c", '. "$0"; env', str(self.state / "env")]
        lines = subprocess.run(shell, capture_output=True, text=True, check=True, env={}).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def wait_until_ready(self) -> Laptop:
        eventually(lambda: (self.state / "env").exists() or self.process.poll() is not None, "ready", DEADLINE)
        assert self.process.poll() is None, self.output
        return self

    def pid(self, name: str) -> int:
        """Return the id of the process with that name, or 0 if no such process runs."""
        try:
            return int((self.state / "pids" / name).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, by: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(by)
        return self.process.wait(DEADLINE)

    def order(self) -> requests.Response:
        env = self.env
        items = [{"sku": "tea-100", "quantity": 1, "unit_amount": 450}]
        return requests.post(
            f"{env['ORDER_URL']}/v1/orders",
            json={"currency": "EUR", "items": items, "payment_method": "pm_ok"},
            headers={
                "Authorization": f"Bearer {env['API_KEY']}",
                "Idempotency-Key": os.urandom(8).hex(),
                "Prefer": "wait=10",
            },
            timeout=20,
        )

    def get(self, url: str) -> requests.Response:
        return requests.get(url, headers={"Authorization": f"Bearer {self.env['API_KEY']}"}, timeout=10)

    def is_ready(self) -> bool:
        try:
            return all(
                requests.get(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=5).status_code == 200
                for name in ("ORDER_ADMIN_PORT", "PAYMENT_ADMIN_PORT")
            )
        except requests.RequestException:
            return False


@contextmanager
def running(state: Path) -> Iterator[Laptop]:
    """Run `make run` with this state directory while the block runs. It may not be ready when the block begins."""
    laptop = Laptop.start(state)
    try:
        yield laptop
    finally:
        laptop.stop()
