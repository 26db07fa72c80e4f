"""How the local stack runs both services: their settings, databases and commands."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ci import ROOT
from ci.laptop import launch
from ci.laptop.ports import ADDRESS, Ports, url
from ci.laptop.postgres import Postgres
from ci.laptop.state import State
from ci.laptop.supervisor import Process, Supervisor

SERVICES = ("order", "payment")
# Seconds to start or migrate, on a machine that is busy with other things too.
START_TIMEOUT = 60.0

READ = ["orders:read", "payments:read"]
READ_AND_WRITE = [*READ, "orders:write", "payments:write"]
OPERATE = ["operator:read", "operator:write", "operator:orders"]


@dataclass(frozen=True)
class DatabaseUrls:
    """The URLs of one database: for the role that owns its tables and migrates them, and for the service's role."""

    owner: str
    service: str


def start_postgres(state: State, supervisor: Supervisor, server: Postgres) -> dict[str, DatabaseUrls]:
    """Start the server under supervision, with a database and two roles for each service. Return their URLs."""
    server.initialize()
    supervisor.start(Process(state, "postgres", server.argv, stop_by=signal.SIGINT))
    supervisor.wait_until(server.answers, "PostgreSQL", START_TIMEOUT)
    return {name: DatabaseUrls(server.create_database(name), server.create_service_role(name)) for name in SERVICES}


def migration(state: State, name: str, env: Mapping[str, str], owner_url: str) -> Process:
    """Return the process that migrates a service's database. Only it gets the URL of the tables' owner."""
    argv = [sys.executable, "-m", "flask", "--app", name, "migrate", "--wait", "30"]
    env = {**env, "MIGRATION_DATABASE_URL": owner_url}
    return Process(state, f"{name}-migrate", launch.with_parent(argv, "TERM"), env=env, keep=False)


def service(state: State, name: str, env: Mapping[str, str]) -> list[Process]:
    """Return a service's processes (web, relay) with the commands that its image runs."""
    web = [sys.executable, "-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", f"{name}:create_app()"]
    relay = [sys.executable, "-m", "flask", "--app", name, "relay"]
    return [
        Process(state, f"{name}-{role}", launch.with_parent(argv, "TERM"), env=env)
        for role, argv in (("web", web), ("relay", relay))
    ]


def inherited() -> dict[str, str]:
    """Return this process's environment (LOG_LEVEL, WEB_WORKERS, ...) with PYTHONPATH and no_proxy set."""
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "apps"),
        # order and payment connect to each other directly, even if this machine uses a proxy.
        "no_proxy": f"{no_proxy},{ADDRESS}" if no_proxy else ADDRESS,
    }


def settings(name: str, ports: Ports, keys: Mapping[str, str], database: str, state: State) -> dict[str, str]:
    """Return a service's settings as environment variables. On a cluster the chart sets them."""
    users = [
        {"key": keys["API_KEY"], "merchant": "demo", "scopes": READ_AND_WRITE},
        {"key": keys["OTHER_API_KEY"], "merchant": "other", "scopes": READ_AND_WRITE},
        {"key": keys["READONLY_API_KEY"], "merchant": "demo", "scopes": READ},
    ]
    operator = {"key": keys["OPERATOR_API_KEY"], "merchant": "tandem", "scopes": OPERATE}
    peer_scopes = ["payments:read", "payments:write", "merchants:any"]
    peer = {"key": keys["PAYMENT_API_KEY"], "merchant": "tandem", "scopes": peer_scopes}
    common = {
        "ENVIRONMENT": "development",
        "DATABASE_URL": database,
        "EVENTS_SECRETS": keys["EVENTS_SECRETS"],
        "PROMETHEUS_MULTIPROC_DIR": str(state.metrics_of(name)),
        "HOST": ADDRESS,
    }
    if name == "order":
        return common | {
            "PORT": str(ports.order),
            "ADMIN_PORT": str(ports.order_admin),
            "API_KEYS": json.dumps([*users, operator]),
            "PAYMENT_URL": url(ports.payment),
            "PAYMENT_API_KEY": keys["PAYMENT_API_KEY"],
            # Webhook receivers run on this machine.
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
    return common | {
        "PORT": str(ports.payment),
        "ADMIN_PORT": str(ports.payment_admin),
        "API_KEYS": json.dumps([*users, peer]),
        "ORDER_URL": url(ports.order),
    }
