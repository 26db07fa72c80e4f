"""`make run`: Tandem on one machine, as it runs in production but for the cluster around it.

PostgreSQL, both databases, both services under gunicorn and their relays; then an order is placed, and
everything runs until Ctrl-C. What it keeps is in `.run` (see `State`).
"""

import argparse
import io
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from ci import launch
from ci.journey import PAYMENT_METHOD, Journey, Refused, answers_ok
from ci.ports import ADDRESS, Ports, PortUnusable, url
from ci.postgres import Postgres, PostgresError
from ci.state import ROOT, AlreadyRunning, State
from ci.supervisor import Process, StartFailed, Stopped, Supervisor

SERVICES = ("order", "payment")
READ = ["orders:read", "payments:read"]
READ_AND_WRITE = [*READ, "orders:write", "payments:write"]
OPERATE = ["operator:read", "operator:write"]
# Seconds: of a machine that is busy with other things, too.
PATIENCE = 60.0


def main() -> None:
    """Run Tandem until somebody stops it: exit code 0 then, 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="laptop", description="Run Tandem on this machine until Ctrl-C.")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep everything there instead of in .run")
    parser.add_argument("--with-parent", action="store_true", help="stop when whoever started this is gone")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # news is to be read when it is news, in a pipe or file too
        sys.stdout.reconfigure(line_buffering=True)
    state = State(arguments.state.resolve()) if arguments.state else State()
    supervisor = Supervisor(tell=print, with_parent=arguments.with_parent)
    supervisor.stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        with state.held():
            run(state, Ports.from_environment(), supervisor)
    except (AlreadyRunning, launch.NeedsAccount, PortUnusable, PostgresError, StartFailed, Refused) as error:
        sys.exit(f"Tandem did not start: {error}")
    except PermissionError as error:
        sys.exit(f"Tandem did not start: {error} (does it belong to another account, which ran it before?)")


def run(state: State, ports: Ports, supervisor: Supervisor) -> None:
    """Start everything, show that it works, and keep it running until somebody asks to stop.

    Raises `PortUnusable` before anything is started, else `PostgresError`, `StartFailed` or `Refused`.
    """
    ports.check()
    state.renew()
    try:
        bring_up(state, ports, supervisor)
        supervisor.tend_for_ever()
    except Stopped:
        print("\nStopping")
    finally:
        state.env.unlink(missing_ok=True)
        supervisor.stop()
    print(f"Stopped; the databases and keys stay in {shown(state.path)}")


def bring_up(state: State, ports: Ports, supervisor: Supervisor) -> None:
    """From nothing to a paid order, in the order in which a deployment does it."""
    began = time.monotonic()

    def done(what: str) -> None:
        print(f"  {what:<32}{time.monotonic() - began:5.1f} s")

    print(f"Tandem is starting; its databases, keys and logs are in {shown(state.path)}")
    keys = state.keys()
    databases = start_postgres(state, supervisor, Postgres(state.postgres))
    done("PostgreSQL is ready")

    environments = {name: {**inherited(), **settings(name, ports, keys, databases[name], state)} for name in SERVICES}
    supervisor.finish(*(migration(state, name, environments[name]) for name in SERVICES), timeout=PATIENCE)
    done("both databases are migrated")

    supervisor.start(*(process for name in SERVICES for process in service(state, name, environments[name])))
    for readyz in (f"{url(port)}/readyz" for port in (ports.order_admin, ports.payment_admin)):
        supervisor.wait_until(partial(answers_ok, readyz), readyz, PATIENCE)
    done("order and payment are ready")

    with closing(Journey(url(ports.order), keys["API_KEY"])) as journey:
        supervisor.wait_until(journey.paid, "a first order that is paid", PATIENCE)
        done("a first order is paid")
        print("", *journey.lines(), "", *welcome(ports, keys, journey.order.id), sep="\n")
    state.write_env(env_file(ports, keys, databases))


def start_postgres(state: State, supervisor: Supervisor, server: Postgres) -> dict[str, str]:
    """Start the server, under supervision; return the URL of each service's database."""
    server.initialize()
    supervisor.start(Process(state, "postgres", server.argv, stop_by=signal.SIGINT))
    supervisor.wait_until(server.answers, "PostgreSQL", PATIENCE)
    return {name: server.create_database(name) for name in SERVICES}


def migration(state: State, name: str, env: Mapping[str, str]) -> Process:
    """The job that brings a service's database to the schema that its code needs."""
    argv = [sys.executable, "-m", "flask", "--app", name, "migrate", "--wait", "30"]
    return Process(state, f"{name}-migrate", launch.with_parent(argv, "TERM"), env=env, keep=False)


def service(state: State, name: str, env: Mapping[str, str]) -> list[Process]:
    """The processes of a service, with the very commands that its image has."""
    web = [sys.executable, "-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", f"{name}:create_app()"]
    relay = [sys.executable, "-m", "flask", "--app", name, "relay"]
    return [
        Process(state, f"{name}-{role}", launch.with_parent(argv, "TERM"), env=env)
        for role, argv in (("web", web), ("relay", relay))
    ]


def inherited() -> dict[str, str]:
    """Our own environment, for tuning (LOG_LEVEL, WEB_WORKERS, ...), with where the code is."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "apps"),
        # order and payment talk to each other directly, whatever proxy the world is behind.
        "no_proxy": f"{direct},{ADDRESS}" if direct else ADDRESS,
    }


def settings(name: str, ports: Ports, keys: Mapping[str, str], database: str, state: State) -> dict[str, str]:
    """What a service reads from its environment, in place of what a chart would set."""
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
            # Receivers on a laptop are on the laptop.
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
    return common | {
        "PORT": str(ports.payment),
        "ADMIN_PORT": str(ports.payment_admin),
        "API_KEYS": json.dumps([*users, peer]),
        "ORDER_URL": url(ports.order),
    }


def env_file(ports: Ports, keys: Mapping[str, str], databases: Mapping[str, str]) -> dict[str, str]:
    """What `.run/env` tells to scripts."""
    return {
        "ORDER_URL": url(ports.order),
        "PAYMENT_URL": url(ports.payment),
        "ORDER_ADMIN_URL": url(ports.order_admin),
        "PAYMENT_ADMIN_URL": url(ports.payment_admin),
        "API_KEY": keys["API_KEY"],
        "OTHER_API_KEY": keys["OTHER_API_KEY"],
        "READONLY_API_KEY": keys["READONLY_API_KEY"],
        "OPERATOR_API_KEY": keys["OPERATOR_API_KEY"],
        "ORDER_DATABASE_URL": databases["order"],
        "PAYMENT_DATABASE_URL": databases["payment"],
    }


def welcome(ports: Ports, keys: Mapping[str, str], order_id: str) -> list[str]:
    """Where everything is, and three commands to paste."""
    key = f"-H 'Authorization: Bearer {keys['API_KEY']}'"
    line = {"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}
    order = json.dumps({"currency": "EUR", "items": [line], "payment_method": PAYMENT_METHOD})
    return [
        f"order    {url(ports.order)}   metrics and health {url(ports.order_admin)}",
        f"payment  {url(ports.payment)}   metrics and health {url(ports.payment_admin)}",
        f"API key  {keys['API_KEY']}",
        f"operator {url(ports.order_admin)}/operator   sign in with {keys['OPERATOR_API_KEY']}",
        "",
        "To place an order, see the one above, and see its payment:",
        f"curl {url(ports.order)}/v1/orders {key} -H 'Content-Type: application/json' -H 'Prefer: wait=5'"
        f" -H 'Idempotency-Key: {secrets.token_hex(8)}' -d '{order}'",
        f"curl {url(ports.order)}/v1/orders/{order_id} {key}",
        f"curl '{url(ports.payment)}/v1/payments?order_id={order_id}' {key}",
        "",
        "Tandem runs; Ctrl-C stops it.",
    ]


def shown(path: Path) -> str:
    """The path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
