"""The faults that are caused, each with the alerts that it must make fire."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import psycopg

from ci.laptop.postgres import Postgres
from tests.monitoring.load import FAILING, USUAL, DeadEndpoints, Load
from tests.monitoring.prometheus import SERVICES, Fired
from tests.support.eventually import eventually
from tests.support.nats_server import NatsServer
from tests.support.stack import Stack, answers


@dataclass(frozen=True)
class Fault:
    """A fault: `alerts` must fire while the context from `begin` is active, `later` afterwards."""

    what: str
    begin: Callable[[], AbstractContextManager[object]]
    alerts: frozenset[Fired]
    later: frozenset[Fired] = frozenset()


def faults(stack: Stack, server: Postgres, load: Load, nats: NatsServer) -> list[Fault]:
    """Return all faults, in an order in which none hides another."""

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
        Fault(
            "callers pay for orders that do not exist, as the load always does",
            nullcontext,
            frozenset(),
            frozenset({("TandemOrphanPayments", "order", "")}),
        ),
        Fault("merchants' endpoints are dead", lambda: DeadEndpoints(stack), frozenset(), frozenset(webhooks)),
        Fault(
            "the provider is slow, loses requests and declines payments",
            lambda: bad_provider(load),
            frozenset(provider | {("TandemDeclines", "payment", "")}),
        ),
        Fault(
            "both relays are stopped (SIGSTOP)",
            lambda: relays_stopped(stack, load),
            frozenset(of_both("TandemRelayNotRunning") | of_both("TandemOutboxStuck") | stuck),
        ),
        Fault("payment is down", lambda: down(stack, "payment"), unreachable("payment")),
        Fault("order is down", lambda: down(stack, "order"), unreachable("order")),
        Fault(
            "the broker is away",
            lambda: broker_away(nats),
            frozenset({("TandemEventsUnpublished", "order", "")}),
        ),
        Fault(
            "a transaction that has written stays open",
            lambda: transaction_open(stack),
            frozenset({("TandemEventsDelayed", "order", "")}),
        ),
        Fault(
            "a customer disputes a charge at Stripe",
            lambda: charge_disputed(stack),
            frozenset({("TandemMoneyChanged", "payment", "")}),
        ),
        Fault("tables are locked repeatedly", lambda: locked(stack), frozenset(of_both("TandemSlow"))),
    ]


def unreachable(service: str) -> frozenset[Fired]:
    """Return the alerts that must fire if this service is unreachable."""
    other = {"order": "payment", "payment": "order"}[service]
    return frozenset({("TandemGone", service, ""), ("TandemBreakerOpen", other, "")})


@contextmanager
def postgres_stopped(server: Postgres) -> Iterator[None]:
    """Stop the database server of both services."""
    server.stop(signal.SIGINT)
    try:
        yield
    finally:
        server.start()


@contextmanager
def bad_provider(load: Load) -> Iterator[None]:
    """Pay orders with payment methods that fail or are slow."""
    load.methods = FAILING
    try:
        yield
    finally:
        load.methods = USUAL


@contextmanager
def relays_stopped(stack: Stack, load: Load) -> Iterator[None]:
    """Pause both relays, and add operations with an unknown outcome."""
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
    """Kill a service's web processes. They are restarted after the block, which waits for them."""
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
def broker_away(nats: NatsServer) -> Iterator[None]:
    """Kill NATS. It is started again after the block."""
    nats.kill()
    try:
        yield
    finally:
        nats.start()
        nats.await_ready()


@contextmanager
def transaction_open(stack: Stack) -> Iterator[None]:
    """Keep a transaction open that has an id, as a forgotten one does."""
    with psycopg.connect(stack.databases.order) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        yield
        connection.rollback()


@contextmanager
def charge_disputed(stack: Stack) -> Iterator[None]:
    """Let a process of payment with another provider, and the same metrics and database, receive the event."""
    env = stack.processes["payment-web"].env
    subprocess.run([sys.executable, "-m", "tests.monitoring.dispute"], env=env, check=True, timeout=60)
    yield


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Lock tables for most of each second, as a bad migration does."""
    ending = threading.Event()

    def lock(connection: psycopg.Connection, table: str) -> None:
        while not ending.wait(0.05):
            with connection.transaction():
                connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                ending.wait(0.7)

    with (
        # Both connect before a thread starts: a server that refuses them ends the run with its reason.
        psycopg.connect(stack.databases.order, autocommit=True) as order,
        psycopg.connect(stack.databases.payment, autocommit=True) as payment,
        ThreadPoolExecutor(2) as threads,
    ):
        locks = [threads.submit(lock, order, "orders"), threads.submit(lock, payment, "payments")]
        try:
            yield
        finally:
            ending.set()
            for running in locks:
                running.result()
