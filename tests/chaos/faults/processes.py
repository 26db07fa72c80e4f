"""Faults of processes: killed, suspended, or with a clock that is ahead."""

from __future__ import annotations

import signal

from tests.chaos.faults.world import World
from tests.support import clock

MINUTES_AHEAD = (1, 4)
"""A service accepts signatures whose time differs by less than 5 minutes from its own."""


def kill(world: World) -> None:
    """Kill a process with its children. The stack starts it again."""
    name = world.random.choice(sorted(world.stack.processes))
    world.begin(f"kill -9 {name}")
    world.stack.processes[name].kill()


def suspend(world: World) -> None:
    """Suspend a process, for longer than its leases in most cases, and let it go on."""
    name = world.random.choice(sorted(world.stack.processes))
    world.begin(f"SIGSTOP {name}")
    process = world.stack.processes[name]
    process.kill(signal.SIGSTOP)
    world.rest(0.5, 3.0)
    process.kill(signal.SIGCONT)


def clock_ahead(world: World) -> None:
    """Restart the processes of one service with a clock that is ahead by minutes, and the others with the right one."""
    ahead = world.random.choice(["order", "payment"])
    world.begin(f"clock of {ahead} ahead by minutes")
    seconds = 60 * world.random.uniform(*MINUTES_AHEAD)
    for name, process in sorted(world.stack.processes.items()):
        if name.startswith(ahead):
            process.env[clock.VARIABLE] = str(seconds)
            process.kill()
        elif process.env.pop(clock.VARIABLE, None) is not None:
            process.kill()
