"""Processes that are kept running: started, started again when they die, and stopped together."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ci.state import State

# All in seconds.
TICK = 0.05
GRACE = 15.0  # what a process may take to stop before it is killed
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # between a death and the next start
WELL_AFTER = 10.0  # whoever ran for so long is thought well: the next restart comes at once

# This many deaths in a row, while we wait for everything to be ready, are not going to end.
HOPELESS = 5


class Stopped(Exception):
    """Somebody asked us to stop."""


class StartFailed(Exception):
    """What should have come up did not; the text says what, and what it said."""


class Process:
    """A command with its own log file and process group; its process id is kept in the state directory.

    `keep=False` is for a command that does one job and ends.
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
        self.deaths = 0
        self._pid_file = state.pids / name
        self._started = 0.0
        self._next_start: float | None = None
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """How it ended (below zero: by that signal); None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start it, apart from our terminal: a Ctrl-C there is ours to pass on."""
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

    def revive(self) -> bool:
        """Start it again if it is dead and has been so for its delay; return whether that was so."""
        if self.exit_code is None:
            return False
        now = time.monotonic()
        if self._next_start is None:
            # What it leaves behind (workers outlive their killed master for a moment) would hold its port.
            self._signal_group(signal.SIGKILL)
            self.deaths = 1 if now - self._started > WELL_AFTER else self.deaths + 1
            self._next_start = now + min(FIRST_DELAY * 2 ** (self.deaths - 1), LONGEST_DELAY)
        if now < self._next_start:
            return False
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """Send it the signal that it stops by."""
        if self._popen is not None:
            self._popen.send_signal(self.stop_by)

    def bury(self) -> None:
        """Kill whatever is left of it."""
        self._signal_group(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()
        self._pid_file.unlink(missing_ok=True)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._popen is not None:
            # macOS says PermissionError of a group in which all are dead but one is not yet waited for.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, with its name."""
        words = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n  ".join([f"the end of {self.log}:", *words])


class Supervisor:
    """Starts processes in batches, tends them, and stops the batches in reverse order."""

    def __init__(self, tell: Callable[[str], None], *, with_parent: bool = False) -> None:
        self._tell = tell
        self._parent = os.getppid() if with_parent else None
        self._batches: list[Sequence[Process]] = []
        self._stop_asked = False

    def stop_on(self, *numbers: signal.Signals) -> None:
        """Let these signals ask us to stop: whichever wait is under way raises `Stopped`, or the next."""
        for number in numbers:
            signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        # Only noted: an exception from a handler could cut a start in two and lose the new process.
        self._stop_asked = True

    def start(self, *processes: Process) -> None:
        """Start these as one batch, and tend them from now on."""
        self._batches.append(processes)
        for process in processes:
            process.start()

    def finish(self, *processes: Process, timeout: float) -> None:
        """Run these to their end, at the same time.

        Raises `StartFailed` when one of them fails or takes longer than `timeout` seconds, and `Stopped`.
        """
        self.start(*processes)
        names = " and ".join(process.name for process in processes)
        self.wait_until(lambda: all(process.exit_code is not None for process in processes), names, timeout)
        for process in self._batches.pop():
            process.bury()
            if process.exit_code != 0:
                raise StartFailed(f"{process.name} failed; {process.last_words()}")

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Tend the processes until the condition holds.

        Raises `StartFailed` when it does not in `timeout` seconds or a process keeps dying, and `Stopped`.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.tend()
            for process in self._processes():
                if process.deaths >= HOPELESS:
                    raise StartFailed(f"{process.name} keeps dying; {process.last_words()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{what}: not ready after {timeout:.0f} s")
            time.sleep(TICK)

    def tend_for_ever(self) -> None:
        """Keep the processes running. Raises `Stopped` in the end."""
        while True:
            self.tend()
            time.sleep(TICK)

    def tend(self) -> None:
        """Start again what has died. Raises `Stopped` when we were asked to stop, or our parent is gone."""
        if self._stop_asked or (self._parent is not None and os.getppid() != self._parent):
            raise Stopped
        for process in self._processes():
            how = process.exit_code
            if process.keep and process.revive():
                self._tell(f"{process.name} had ended ({_describe(how)}) and was started again")

    def stop(self) -> None:
        """Stop everything, and kill what does not stop in time. Signals have no say in it."""
        while self._batches:
            batch = self._batches.pop()
            for process in batch:
                process.ask_to_stop()
            deadline = time.monotonic() + GRACE
            while any(process.exit_code is None for process in batch) and time.monotonic() < deadline:
                time.sleep(TICK)
            for process in batch:
                process.bury()

    def _processes(self) -> list[Process]:
        return [process for batch in self._batches for process in batch]


def _describe(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
