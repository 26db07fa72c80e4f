"""Waits for the messages in the services' outboxes."""

from __future__ import annotations

from tests.support.eventually import eventually
from tests.support.pair import Pair


def delivered(pair: Pair, service: str = "payment") -> None:
    """Wait until a service has delivered all its messages: payment's are events, order's are commands."""
    waiting = "SELECT id FROM outbox WHERE delivered_at IS NULL"
    eventually(lambda: not pair.databases.query(service, waiting), f"all messages of {service} are delivered")


def settled(pair: Pair) -> None:
    """Wait until both services have delivered all their messages."""
    for service in ("order", "payment"):
        delivered(pair, service)
