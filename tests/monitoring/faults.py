"""What is broken so that alerts fire: each fault with the alerts that it must set off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg

from ci.laptop.postgres import Postgres
from tests.monitoring.load import BAD_DAY, USUAL, DeadEndpoints, Load
from tests.monitoring.prometheus import SERVICES, Fired
from tests.support.eventually import eventually
from tests.support.stack import Stack, answers


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while it is entered, and the alerts that have to fire meanwhile, or by `later`."""

    what: str
    begin: Callable[[], AbstractContextManager[object]]
    alerts: frozenset[Fired]
    later: frozenset[Fired] = frozenset()


def faults(stack: Stack, server: Postgres, load: Load) -> list[Fault]:
    """All of them, in an order in which none hides another."""

    def of_both(name: str) -> set[Fired]:
        return {(name, service, "") for service in SERVICES}

    burning = {("TandemErrorBudgetBurn", service, window) for service in SERVICES for window in ("1h", "6h")}
    burnt = {("TandemErrorBudgetBurn", service, window) for service in SERVICES for window in ("1d", "3d")}
    webhooks = {("TandemWebhooksDead", "order", ""), ("TandemWebhooksLate", "order", "")}
    provider = {(f"TandemProvider{how}", "payment", "") for how in ("Failing", "Slow")}
    stuck = {("TandemOrdersWaiting", "order", ""), ("TandemOperationsStuck", "payment", "")}
    return [
        Fault(
            "PostgreSQL is stopped",
            lambda: postgres_stopped(server),
            frozenset(of_both("TandemDatabaseDown") | burning),
            frozenset(burnt),
        ),
        Fault("merchants' endpoints are dead", lambda: DeadEndpoints(stack), frozenset(), frozenset(webhooks)),
        Fault(
            "the provider is slow, loses requests and declines",
            lambda: bad_day(load),
            frozenset(provider | {("TandemDeclines", "payment", "")}),
        ),
        Fault(
            "both relays are stopped (SIGSTOP)",
            lambda: relays_stopped(stack, load),
            frozenset(of_both("TandemRelayNotRunning") | of_both("TandemOutboxStuck") | stuck),
        ),
        Fault("payment is down", lambda: down(stack, "payment"), away("payment")),
        Fault("order is down", lambda: down(stack, "order"), away("order")),
        Fault("tables are locked again and again", lambda: locked(stack), frozenset(of_both("TandemSlow"))),
    ]


def away(service: str) -> frozenset[Fired]:
    """What has to fire when this service cannot be reached."""
    other = {"order": "payment", "payment": "order"}[service]
    return frozenset({("TandemGone", service, ""), ("TandemBreakerOpen", other, "")})


@contextmanager
def postgres_stopped(server: Postgres) -> Iterator[None]:
    """No database for either service."""
    server.stop(signal.SIGINT)
    try:
        yield
    finally:
        server.start()


@contextmanager
def bad_day(load: Load) -> Iterator[None]:
    """Orders are paid by methods that go wrong."""
    load.methods = BAD_DAY
    try:
        yield
    finally:
        load.methods = USUAL


@contextmanager
def relays_stopped(stack: Stack, load: Load) -> Iterator[None]:
    """Nobody carries on what requests leave; among it, operations whose outcome is not known."""
    relays = [stack.processes[f"{service}-relay"] for service in SERVICES]
    load.methods = (*USUAL, *("pm_timeout_lost",) * 10)
    for relay in relays:
        relay.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        load.methods = USUAL
        for relay in relays:
            relay.kill(signal.SIGCONT)


@contextmanager
def down(stack: Stack, service: str) -> Iterator[None]:
    """The service's web processes are killed and stay dead; it is waited for that they are back."""
    name = f"{service}-web"
    stack.held.add(name)
    stack.processes[name].kill()
    try:
        yield
    finally:
        stack.held.discard(name)
        client = stack.order if service == "order" else stack.payment
        eventually(lambda: answers(client, "/readyz"), f"{service} is back", 60)


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Reads wait for a lock, most of a second at a time, as they would for a migration that was not thought through."""
    ending = threading.Event()

    def lock(url: str, table: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not ending.wait(0.05):
                with connection.transaction():
                    connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                    ending.wait(0.7)

    tables = ((stack.databases.order, "orders"), (stack.databases.payment, "payments"))
    threads = [threading.Thread(target=lock, args=table) for table in tables]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join()
