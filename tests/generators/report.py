"""What `make generators` prints: a line for each check, and the output of the failed ones."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

LAST_LINES = 40


class Failed(Exception):
    """A command failed; the text is the end of its output."""


class Report:
    """Runs checks and counts their results. Several threads may use it."""

    def __init__(self) -> None:
        self._lock, self._start = threading.Lock(), time.monotonic()
        self._passed, self._failed, self._skipped = 0, 0, 0

    def check(self, name: str, action: Callable[[], object]) -> bool:
        """Run a check and print its result. Return whether it passed."""
        start = time.monotonic()
        try:
            action()
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            with self._lock:
                self._failed += 1
                self._print(f"FAIL {name}: {error}")
            return False
        with self._lock:
            self._passed += 1
            self._print(f"ok   {name} ({time.monotonic() - start:.0f} s)")
        return True

    def skip(self, name: str, reason: str) -> None:
        """Print that a check does not run, and why."""
        with self._lock:
            self._skipped += 1
            self._print(f"SKIP {name}: {reason}")

    def end(self, strict: bool) -> int:
        """Print the counts. Return the exit status."""
        print(f"{self._passed} passed, {self._failed} failed, {self._skipped} skipped", flush=True)
        return 1 if self._failed or (strict and self._skipped) else 0

    def _print(self, line: str) -> None:
        print(f"{time.monotonic() - self._start:4.0f} s  {line}", flush=True)


def run(*command: object, cwd: object = None, env: dict[str, str] | None = None, timeout: float = 300) -> str:
    """Run a command and return its output. Raises `Failed` if it fails, `TimeoutExpired` after `timeout` seconds."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=str(cwd) if cwd else None,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        end = "\n      ".join(done.stdout.splitlines()[-LAST_LINES:])
        raise Failed(f"exit status {done.returncode} of {' '.join(map(str, command))}\n      {end}")
    return done.stdout
