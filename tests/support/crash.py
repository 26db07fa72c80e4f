"""Runs a service so that it crashes at a given step: `python -m tests.support.crash ARMED SERVICE COMMAND...`.

The file ARMED, if it exists, names a service, a function and `before` or `after`:
`order order.store.steps:write after`. The next process that calls this function renames the file and kills its own
process group with SIGKILL, before or after the call. The services need no hooks for this.

The environment variable CLOCK_AHEAD sets the clock of the process ahead by so many seconds.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import clock

FUNCTIONS = {
    "order": (
        "order.store.placing:insert_under_keys",
        "order.store.steps:read_many",
        "order.store.steps:write",
        "order.changes:Changes.receive",
        "order.gateway:PaymentGateway.send_many",
        "chassis.messaging.outbox:claim",
    ),
    "payment": (
        "payment.store:insert_under_key",
        "payment.settlements:settle",
        "payment.operations:claim",
        "payment.operations:release",
        "payment.providers.simulator:Simulator.send_many",
        "payment.providers.simulator:Simulator.send",
        "payment.providers.simulator:Simulator.lookup",
        "payment.executor:Executor.execute",
        "payment.gateway:OrderGateway.send",
        "chassis.messaging.outbox:claim",
        "chassis.messaging.outbox:mark_delivered",
    ),
}

# Functions of order that are called only if there is a webhook endpoint.
WEBHOOKS = ("order.webhooks.queue:claim", "order.webhooks.sender:Sender.post", "order.webhooks.queue:settle")


def wrap(service: str, name: str, armed: Path) -> None:
    """Replace a function, named `module:path`, with one that can crash before and after each call."""
    module_name, _, path = name.partition(":")
    owner: Any = importlib.import_module(module_name)
    *containers, attribute = path.split(".")
    for container in containers:
        owner = getattr(owner, container)
    setattr(owner, attribute, crashing(f"{service} {name}", getattr(owner, attribute), armed))


def crashing(name: str, function: Callable[..., Any], armed: Path) -> Callable[..., Any]:
    """Return `function` with a call of `crash_if_armed` before and after it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        crash_if_armed(f"{name} before", armed)
        try:
            return function(*args, **kwargs)
        finally:
            crash_if_armed(f"{name} after", armed)

    return wrapper


def crash_if_armed(moment: str, armed: Path) -> None:
    """Kill this process group if the file names this moment."""
    try:
        if armed.read_text() != moment:
            return
        armed.rename(armed.with_suffix(".done"))
    except FileNotFoundError:
        return
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Wrap the functions, then run the command: `gunicorn ...` or `flask ...`."""
    armed = Path(sys.argv[1])
    service = sys.argv[2]
    sys.argv = sys.argv[3:]
    if clock.VARIABLE in os.environ:
        clock.shift(float(os.environ[clock.VARIABLE]))
    for name in (*FUNCTIONS[service], *(WEBHOOKS if service == "order" else ())):
        wrap(service, name, armed)
    if sys.argv[0] == "gunicorn":
        from gunicorn.app.wsgiapp import run

        run()
    else:
        from flask.cli import main as flask

        flask()


if __name__ == "__main__":
    main()
