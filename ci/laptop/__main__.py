"""`make run`: Tandem on one machine, set up as in production but without a cluster.

Starts PostgreSQL with both databases, and both services under gunicorn with their relays. Then it places an order and
runs until Ctrl-C. Everything it keeps is in `.run` (see `State`).
"""

import argparse
import errno
import io
import signal
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg

from ci.laptop import launch, nats
from ci.laptop.guide import env_file, welcome
from ci.laptop.journey import Journey, Refused, answers_ok
from ci.laptop.ports import Ports, PortUnusable, accepts, url
from ci.laptop.postgres import Postgres, PostgresError
from ci.laptop.services import SERVICES, START_TIMEOUT, inherited, migration, service, settings, start_postgres
from ci.laptop.state import AlreadyRunning, State, StateBroken
from ci.laptop.supervisor import StartFailed, Stopped, Supervisor

FAILURES = (
    AlreadyRunning,
    nats.BrokerUnknown,
    Refused,
    StartFailed,
    StateBroken,
    launch.NeedsAccount,
    PortUnusable,
    PostgresError,
)
_HINTS = {
    errno.EACCES: "does it belong to an account that ran Tandem before?",
    errno.EPERM: "does it belong to an account that ran Tandem before?",
    errno.EROFS: "run Tandem from a checkout that can be written to, or add --state=DIR",
    errno.EDQUOT: "your quota on this disk is used up; make clean deletes the databases",
    # What is in the place of a directory or of a file.
    errno.EEXIST: "move it away",
    errno.ENOTDIR: "move away the file that is in the place of a directory",
    errno.EISDIR: "move it away",
}


def main() -> None:
    """Run Tandem until it is stopped. The exit code is then 0; it is 1 if Tandem could not start."""
    parser = argparse.ArgumentParser(prog="laptop", description="Run Tandem on this machine until Ctrl-C.")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state directory (default: .run)")
    parser.add_argument("--with-parent", action="store_true", help="stop when the parent process ends")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # show progress at once when the output is a pipe or a file
        sys.stdout.reconfigure(line_buffering=True)
    state = State(arguments.state.resolve()) if arguments.state else State()
    supervisor = Supervisor(report=print, with_parent=arguments.with_parent)
    supervisor.stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        with state.locked():
            run(state, Ports.from_environment(nats=nats.is_wanted()), supervisor)
    except (*FAILURES, OSError, psycopg.Error) as error:
        text = describe(error)
        if state.is_full() or "No space left on device" in text:
            text += f"\nThe disk of {state.path} is full. Free at least 200 MiB; make clean deletes the databases."
        sys.exit(f"Tandem did not start: {text}")


def run(state: State, ports: Ports, supervisor: Supervisor) -> None:
    """Start everything, place an order, and keep everything running until a stop signal.

    Raises `PortUnusable` before anything is started, else `PostgresError`, `StartFailed` or `Refused`.
    """
    ports.check()
    state.reset()
    try:
        bring_up(state, ports, supervisor)
        supervisor.run()
    except Stopped:
        print("\nStopping")
    finally:
        state.env.unlink(missing_ok=True)
        supervisor.stop()
    print(f"Stopped; the databases and keys stay in {_relative(state.path)}")


def bring_up(state: State, ports: Ports, supervisor: Supervisor) -> None:
    """Start everything in the order of a deployment, up to a first order that is paid."""
    began = time.monotonic()

    def done(what: str) -> None:
        print(f"  {what:<32}{time.monotonic() - began:5.1f} s")

    print(f"Tandem is starting; its databases, keys and logs are in {_relative(state.path)}")
    keys = state.keys()
    databases = start_postgres(state, supervisor, Postgres(state.postgres))
    done("PostgreSQL is ready")

    environments = {
        name: {**inherited(), **settings(name, ports, keys, databases[name].service, state)} for name in SERVICES
    }
    migrations = (migration(state, name, environments[name], databases[name].owner) for name in SERVICES)
    supervisor.finish(*migrations, timeout=START_TIMEOUT)
    done("both databases are migrated")

    supervisor.start(*(process for name in SERVICES for process in service(state, name, environments[name])))
    for readyz in (f"{url(port)}/readyz" for port in (ports.order_admin, ports.payment_admin)):
        supervisor.wait_until(partial(answers_ok, readyz), readyz, START_TIMEOUT)
    done("order and payment are ready")

    if ports.nats is not None:
        supervisor.start(nats.server(state, ports.nats))
        supervisor.start(nats.publisher(state, ports.nats, environments["order"]))
        supervisor.wait_until(partial(accepts, ports.nats), "NATS", START_TIMEOUT)
        done("NATS is ready")

    with closing(Journey(url(ports.order), keys["API_KEY"])) as journey:
        supervisor.wait_until(journey.paid, "payment of the first order", START_TIMEOUT)
        done("a first order is paid")
        print("", *journey.lines(), "", *welcome(ports, keys, journey.order.id), sep="\n")
    state.write_env(env_file(ports, keys, databases))


def describe(error: Exception) -> str:
    """Return a sentence about a failure, with a hint if it is one of the file system."""
    if isinstance(error, psycopg.Error):
        return f"PostgreSQL: {str(error).strip()}"
    if not isinstance(error, OSError):
        return str(error)
    sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    hint = _HINTS.get(error.errno or 0)
    return f"{sentence} ({hint})" if hint else sentence


def _relative(path: Path) -> str:
    """Return the path relative to the working directory if it is inside of it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
