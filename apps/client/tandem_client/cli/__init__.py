"""`tandem`, a command for people: orders, events, and webhooks on a developer's machine. It is the extra `cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `tandem` and exit. docs/client.md lists the exit codes."""
    try:
        from tandem_client.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"tandem needs {error.name}, which is not installed: pip install 'tandem-client[cli]'")
    sys.exit(run(sys.argv[1:]))
