"""Starts processes, restarts those that end, and stops all of them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ci.laptop.state import State

# All in seconds.
TICK = 0.05
GRACE = 15.0  # time to stop before a process is killed
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # between the end of a process and its restart
STABLE_AFTER = 10.0  # a process that ran this long restarts with the first delay

# While starting up: give up after this many failures in a row.
MAX_FAILURES = 5


class Stopped(Exception):
    """A signal asked the supervisor to stop, or its parent process ended."""


class StartFailed(Exception):
    """A process failed or was not ready in time. The message has the end of its log."""


class Process:
    """A command with a log file and a process group of its own. Its process id is kept in the state directory.

    `keep=False` is for a command that ends by itself and is not restarted.
    """

    def __init__(
        self,
        state: State,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop_by: signal.Signals = signal.SIGTERM,
        keep: bool = True,
    ) -> None:
        self.name = name
        self.argv = argv
        self.env = env
        self.stop_by = stop_by
        self.keep = keep
        self.log = state.logs / f"{name}.log"
        self.failures = 0
        self._pid_file = state.pids / name
        self._started = 0.0
        self._next_start: float | None = None
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start the process in its own session: the supervisor passes on Ctrl-C, not the terminal."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{self._popen.pid}\n")
        self._started = time.monotonic()
        self._next_start = None

    def restart_if_ended(self) -> bool:
        """Restart the process if it ended and its delay has passed. Return whether it was restarted."""
        if self.exit_code is None:
            return False
        now = time.monotonic()
        if self._next_start is None:
            # Workers outlive a killed master for a moment and would still hold its port.
            self._signal_group(signal.SIGKILL)
            self.failures = 1 if now - self._started > STABLE_AFTER else self.failures + 1
            self._next_start = now + min(FIRST_DELAY * 2 ** (self.failures - 1), LONGEST_DELAY)
        if now < self._next_start:
            return False
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """Send the process its stop signal."""
        if self._popen is not None:
            self._popen.send_signal(self.stop_by)

    def kill(self) -> None:
        """Kill what is left of the process group, and wait for the process."""
        self._signal_group(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()
        self._pid_file.unlink(missing_ok=True)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._popen is not None:
            # macOS raises PermissionError for a group in which all processes are dead and one is not yet waited for.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the log and its path."""
        tail = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n  ".join([f"the end of {self.log}:", *tail])


class Supervisor:
    """Starts processes in batches, restarts those that end, and stops the batches in reverse order."""

    def __init__(self, report: Callable[[str], None], *, with_parent: bool = False) -> None:
        self._report = report
        self._parent = os.getppid() if with_parent else None
        self._batches: list[Sequence[Process]] = []
        self._stop_asked = False

    def stop_on(self, *numbers: signal.Signals) -> None:
        """Handle these signals: the current or the next wait raises `Stopped`."""
        for number in numbers:
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        # Only set a flag: an exception in a handler could interrupt a start and lose the new process.
        self._stop_asked = True

    def start(self, *processes: Process) -> None:
        """Start these processes as one batch, and supervise them from now on."""
        self._batches.append(processes)
        for process in processes:
            process.start()

    def finish(self, *processes: Process, timeout: float) -> None:
        """Run these processes in parallel until they end.

        Raises `StartFailed` if one fails or takes longer than `timeout` seconds, and `Stopped`.
        """
        self.start(*processes)
        names = " and ".join(process.name for process in processes)
        self.wait_until(lambda: all(process.exit_code is not None for process in processes), names, timeout)
        for process in self._batches.pop():
            process.kill()
            if process.exit_code != 0:
                raise StartFailed(f"{process.name} failed; {process.log_tail()}")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Supervise the processes until the condition holds.

        Raises `StartFailed` after `timeout` seconds or if a process keeps failing, and `Stopped`.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.restart_ended()
            for process in self._processes():
                if process.failures >= MAX_FAILURES:
                    raise StartFailed(f"{process.name} keeps failing; {process.log_tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{what}: not ready after {timeout:.0f} s")
            time.sleep(TICK)

    def run(self) -> None:
        """Supervise the processes until `Stopped` is raised."""
        while True:
            self.restart_ended()
            time.sleep(TICK)

    def restart_ended(self) -> None:
        """Restart processes that ended. Raises `Stopped` after a stop signal, or if the parent process is gone."""
        if self._stop_asked or (self._parent is not None and os.getppid() != self._parent):
            raise Stopped
        for process in self._processes():
            exit_code = process.exit_code
            if process.keep and process.restart_if_ended():
                self._report(f"{process.name} ended ({_describe(exit_code)}) and was restarted")

    def stop(self) -> None:
        """Stop all processes, and kill those that do not stop in time. Stop signals do not interrupt this."""
        while self._batches:
            batch = self._batches.pop()
            for process in batch:
                process.ask_to_stop()
            deadline = time.monotonic() + GRACE
            while any(process.exit_code is None for process in batch) and time.monotonic() < deadline:
                time.sleep(TICK)
            for process in batch:
                process.kill()

    def _processes(self) -> list[Process]:
        return [process for batch in self._batches for process in batch]


def _describe(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
