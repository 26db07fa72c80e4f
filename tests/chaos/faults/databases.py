"""Faults of the databases: stopped, killed, cut off, purged early, and leases or authorizations that expire early."""

from __future__ import annotations

import signal

from tests.chaos.faults.world import World

PURGE_AGE = {"order": 25.0, "payment": 3.0}
"""Seconds after which a purge deletes keys and messages.

Callers send no request again after order's age: the new request would be a new order. Only order sends requests to
payment again, and it may do so after any time.
"""


def stop(world: World) -> None:
    """Stop PostgreSQL cleanly: the server of one service, or both servers."""
    _away(world, "stopped", signal.SIGINT, 2.0)


def crash(world: World) -> None:
    """Kill PostgreSQL: the server of one service, or both servers."""
    _away(world, "kill -9", signal.SIGKILL, 1.0)


def _away(world: World, what: str, by: signal.Signals, seconds: float) -> None:
    services = world.random.choice([["order"], ["payment"], ["order", "payment"]])
    world.begin(f"PostgreSQL of {' and '.join(services)} {what}")
    for service in services:
        world.servers[service].stop(by)
    world.rest(0.1, seconds)
    for service in services:
        world.servers[service].start()


def drop_connections(world: World) -> None:
    """Close all connections to both databases."""
    world.begin("database connections dropped")
    for service in ("order", "payment"):
        world.sql(
            service,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
        )


def forget_leases(world: World) -> None:
    """End all leases, as if the clock had jumped: no worker still holds its rows."""
    world.begin("leases run out early")
    for service, table in (("order", "outbox"), ("payment", "outbox"), ("payment", "operations")):
        world.sql(service, f"UPDATE {table} SET leased_until = now() WHERE leased_until > now()")


def expire_authorizations(world: World) -> None:
    """Let authorizations expire, as if a week had passed: half of those that are there."""
    expired = world.sql(
        "payment",
        "UPDATE payments SET expires_at = now(), version = version + 1"
        " WHERE status = 'authorized' AND hashtext(id::text || %s) %% 2 = 0",
        str(world.random.random()),
    )
    if expired:
        world.begin("authorizations expire")


def purge(world: World) -> None:
    """Purge one of the databases."""
    purge_database(world, world.random.choice(["order", "payment"]))


def purge_database(world: World, service: str) -> None:
    """Run `flask purge` on rows that are made to look a year old: those that are older than PURGE_AGE."""
    world.begin(f"purge of {service}")
    for table in ("idempotency_keys", "outbox"):
        world.sql(
            service,
            f"UPDATE {table} SET created_at = created_at - interval '365 days'"
            f" WHERE created_at BETWEEN now() - interval '300 days' AND now() - make_interval(secs => %s)",
            PURGE_AGE[service],
        )
    status, output = world.stack.command(service, "purge")
    if status != 0:
        raise RuntimeError(f"the purge of {service} has failed: {output}")
