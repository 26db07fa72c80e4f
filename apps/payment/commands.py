"""The payment service's commands: `flask --app payment migrate | relay | purge | reconcile`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import uuid_utils
from flask import Flask

from chassis.cli import commands
from chassis.config import ConfigError
from chassis.messaging import leases
from chassis.messaging.leases import LeaseLoop
from chassis.postgres.database import Session
from payment import store
from payment.config import Settings
from payment.model import Operation
from payment.service import Payments


def register(app: Flask, migrations: str, payments: Payments, settings: Settings) -> None:
    """Add the commands to the application."""
    commands.register(app, migrations, lambda: loops(payments, settings), {"idempotency_keys": store.OLD_KEYS})
    commands.reconcile(app, ("operation", "kind", "amount", "payment says", "provider says"), payments.differences)


def loops(payments: Payments, settings: Settings) -> Sequence[LeaseLoop]:
    """What `relay` runs.

    The relay carries events to order, the executor settles what the provider has left open, and expiry gives
    back authorizations whose time is over.
    """
    if not settings.events_secrets:
        raise ConfigError("EVENTS_SECRETS: must be set, or no event could be signed")
    owner = leases.owner()

    def claim(session: Session, limit: int) -> list[Operation]:
        # Each claim is an owner of its own, so that a process is fenced from its own earlier claims too.
        return payments.claim_operations(session, f"{owner} {uuid_utils.uuid7()}", limit)

    def loop(name: str, claim: Callable[[Session, int], list[Any]], work: Callable[[Any], object]) -> LeaseLoop:
        return LeaseLoop(
            name,
            payments.database,
            claim,
            work,
            concurrency=settings.relay_concurrency,
            poll=settings.poll_seconds,
        )

    relay = payments.relay.loop(
        lease=settings.lease_seconds, concurrency=settings.relay_concurrency, poll=settings.poll_seconds
    )
    return [
        relay,
        loop("executor", claim, payments.execute),
        loop("expiry", payments.expired, payments.expire),
    ]
