"""Runs a service's process with a mine laid in it: `python -m tests.integration.faults.crash ARMED SERVICE COMMAND...`.

The file ARMED, when it exists, names a service, a function and a moment: `order order.store:place after`. The
process that next calls that function takes the file away and kills itself and its whole process group with SIGKILL,
before or after the call: real processes end at exactly that step, and the product has no hooks for it.
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

FUNCTIONS = {
    "order": (
        "order.store.placing:insert_under_key",
        "order.store.steps:read",
        "order.store.steps:write",
        "order.changes:Changes.receive",
        "order.gateway:PaymentGateway.send",
        "chassis.messaging.outbox:claim",
        "chassis.messaging.outbox:mark_delivered",
        "chassis.messaging.relay:Relay._commit",
    ),
    "payment": (
        "payment.store:insert_under_key",
        "payment.store:settle",
        "payment.store:claim_operations",
        "payment.store:release_operation",
        "payment.providers.simulator:Simulator.send",
        "payment.providers.simulator:Simulator.lookup",
        "payment.service:Payments._carry_out",
        "payment.service:Payments._send_event",
        "chassis.messaging.outbox:claim",
        "chassis.messaging.outbox:mark_delivered",
        "chassis.messaging.relay:Relay._commit",
    ),
}

# Steps of order's that only an endpoint for webhooks makes it take.
WEBHOOKS = ("order.webhooks.store:claim", "order.webhooks.sender:Sender.post", "order.webhooks.store:settle")


def lay(service: str, name: str, armed: Path) -> None:
    """Wrap one function so that it looks at the file before and after it runs."""
    module_name, _, path = name.partition(":")
    owner: Any = importlib.import_module(module_name)
    *containers, attribute = path.split(".")
    for container in containers:
        owner = getattr(owner, container)
    setattr(owner, attribute, mined(f"{service} {name}", getattr(owner, attribute), armed))


def mined(name: str, function: Callable[..., Any], armed: Path) -> Callable[..., Any]:
    """The function with the mine in it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        step_on(f"{name} before", armed)
        try:
            return function(*args, **kwargs)
        finally:
            step_on(f"{name} after", armed)

    return wrapper


def step_on(moment: str, armed: Path) -> None:
    """End this process group if the file asks for it at this moment."""
    try:
        if armed.read_text() != moment:
            return
        armed.rename(armed.with_suffix(".done"))
    except FileNotFoundError:
        return
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Lay the mines, then become the command: `gunicorn ...` or `flask ...`."""
    armed = Path(sys.argv[1])
    service = sys.argv[2]
    sys.argv = sys.argv[3:]
    for name in (*FUNCTIONS[service], *(WEBHOOKS if service == "order" else ())):
        lay(service, name, armed)
    if sys.argv[0] == "gunicorn":
        from gunicorn.app.wsgiapp import run

        run()
    else:
        from flask.cli import main as flask

        flask()


if __name__ == "__main__":
    main()
