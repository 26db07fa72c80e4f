"""Load on the order service from inside the cluster."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster.namespace import Namespace, say, wait_until
from tests.support.cluster.pods import execute

_SCRIPT = Path(__file__).with_name("load_in_pod.py").read_text()


class Load:
    """A pod places and reads orders while the `with` block runs. Afterwards `outcome` has the results.

    `rate` is in requests per second. The load ends by itself after `seconds`. There are enough `connections` to make up
    for the time in which pods start and answers are slow.
    """

    def __init__(
        self,
        namespace: Namespace,
        pod: str,
        url: str,
        key: str,
        rate: int = 140,
        seconds: int = 240,
        connections: int = 24,
    ) -> None:
        self.outcome: dict[str, Any] = {}
        settings = {"url": url, "key": key, "rate": rate, "seconds": seconds, "connections": connections}
        command = ["python", "-c", _SCRIPT, json.dumps(settings)]
        self._running = execute(namespace.name, pod, command, stdin=True)

    def __enter__(self) -> Self:
        self._exec = self._running.__enter__()
        self.wait_answered()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.outcome = self._command("stop")
        finally:
            self._running.__exit__(kind, error, trace)
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in self.outcome.items()}
        say(f"MEASURED {json.dumps(rounded)}")

    def wait_answered(self, requests: int = 200) -> None:
        """Wait until this many more requests are answered."""
        enough = self._command("report")["answered"] + requests
        wait_until(f"{requests} more requests are answered", lambda: self._command("report")["answered"] >= enough, 60)

    def use_key(self, key: str) -> None:
        """Use another key from now on."""
        self._command(f"key {key}")

    def _command(self, line: str) -> dict[str, Any]:
        """Send a command to the script in the pod, and return its reply."""
        self._exec.write_stdin(f"{line}\n")
        # If the last line and the end of the stream arrive together, readline_stdout leaves the line in the buffer.
        reply = self._exec.readline_stdout(timeout=120) or self._exec.read_stdout(timeout=1)
        assert reply, f"the load has ended: {self._exec.read_stderr(timeout=1)}"
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def assert_nothing_lost(self, rate: int = 100) -> None:
        """Assert that no request failed, that the rate was at least `rate`, and that each order exists and is paid."""
        outcome = self.outcome
        assert outcome["failures"] == [], f"{outcome['failed']} requests failed, of them: {outcome['failures']}"
        assert outcome["rate"] >= rate, "the load was too low to prove anything"
        assert (outcome["not_paid"], outcome["paid"]) == ([], outcome["placed"])
