"""`./tandem-admin` in a checkout: runs a service's command with the settings that `make run` gives the service."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ci.laptop.ports import Ports
from ci.laptop.services import SERVICES, inherited, settings
from ci.laptop.state import State, StateBroken


class NotRunning(Exception):
    """`make run` does not run, so there is no database to use. The message says so."""


def environment(state: State, service: str) -> dict[str, str]:
    """Return the environment variables of a service's commands. Raises `NotRunning` and `StateBroken`.

    If DATABASE_URL is set, the caller has configured the service: its environment is returned.
    """
    if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
        return inherited()
    written = read(state.env)
    port = {name: urlsplit(written[f"{name.upper()}_URL"]).port or 0 for name in ("order", "payment")}
    port |= {f"{name}_admin": urlsplit(written[f"{name.upper()}_ADMIN_URL"]).port or 0 for name in ("order", "payment")}
    database = written[f"{service.upper()}_DATABASE_URL"]
    own = settings(service, Ports(**port), state.keys(), database, state)
    # The command is none of the processes whose metrics the service adds up.
    del own["PROMETHEUS_MULTIPROC_DIR"]
    return {**inherited(), **own, "MIGRATION_DATABASE_URL": written[f"{service.upper()}_MIGRATION_DATABASE_URL"]}


def read(env: Path) -> Mapping[str, str]:
    """Return the variables of `.run/env`. Raises `NotRunning` if it does not exist."""
    try:
        lines = env.read_text().splitlines()
    except FileNotFoundError:
        raise NotRunning("Tandem does not run here: start it with make run in another terminal") from None
    return dict(line.split("=", 1) for line in lines if "=" in line)


def main() -> None:
    """Replace this process by the command."""
    parser = argparse.ArgumentParser(prog="tandem-admin", add_help=False)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # The tests name a directory of their own.
    state = State(Path(os.environ["TANDEM_STATE"]).resolve()) if "TANDEM_STATE" in os.environ else State()
    try:
        env = environment(state, options.service)
    except (NotRunning, StateBroken, OSError) as error:
        print(f"tandem-admin: {error} (or use --cluster)", file=sys.stderr)
        sys.exit(2)
    command = [sys.executable, "-m", "flask", "--app", options.service, *options.arguments]
    os.execve(sys.executable, command, env)


if __name__ == "__main__":
    main()
