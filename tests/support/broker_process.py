"""What servers of both kinds of brokers have in common: each is a process, which is awaited and killed."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.eventually import eventually


class BrokerProcess(ABC):
    """A server that runs while the `with` block does.

    `what` names it in messages, `folder` has its log, and it must be ready within `seconds`.
    """

    def __init__(self, what: str, folder: Path, seconds: float) -> None:
        self._what, self._folder, self._seconds = what, folder, seconds
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start the server. Does not wait until it is ready."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the server accepts clients."""

    def await_ready(self) -> None:
        """Wait until the server is ready."""
        eventually(lambda: self.is_ready() or not self._runs(), f"{self._what} is ready", self._seconds)
        assert self._runs(), f"{self._what} has ended; see {self._folder}/log"

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        self.await_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
