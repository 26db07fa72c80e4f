"""The payment service's commands: `flask --app payment migrate | relay | purge | reconcile`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from chassis.cli import commands, reconcile
from chassis.config import ConfigError
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Session
from payment import store
from payment.config import Settings
from payment.service import Payments


def register(app: Flask, migrations: str, payments: Payments, settings: Settings) -> None:
    """Add the commands to the application."""
    commands.register(app, migrations, lambda: loops(payments, settings), {"idempotency_keys": store.OLD_KEYS})
    columns = ("operation", "kind", "amount", "payment says", "provider says")
    reconcile.register(app, columns, ("payment", "provider"), payments.differences)


def loops(payments: Payments, settings: Settings) -> Sequence[WorkLoop]:
    """Return the loops of `flask relay`.

    The relay sends events to the order service, the executor carries out operations without a known outcome, and
    expiry voids expired authorizations. Raises ConfigError if there is no secret to sign events with.
    """
    if not settings.events_secrets:
        raise ConfigError("EVENTS_SECRETS: must be set, or no event could be signed")

    def loop(name: str, claim: Callable[[Session, int], Sequence[Any]], work: Callable[[Any], object]) -> WorkLoop:
        return WorkLoop(
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
        loop("executor", payments.executor.claim, payments.executor.execute),
        loop("expiry", store.find_expired, payments.expire),
    ]
