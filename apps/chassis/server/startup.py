"""The settings that gunicorn's configuration reads. An invalid one ends the start with one sentence and status 2.

An exception would end it with a traceback and gunicorn's exit status.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from chassis.server import listeners

INVALID = 2
"""The exit status if a setting is invalid, as that of the commands."""


def number(name: str, default: int, least: int, most: int) -> int:
    """Return a setting that is a whole number. Ends the process if it is not, or if it is out of bounds."""
    text = os.environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        refuse(f"{name}: must be a whole number from {least} to {most}")
    return int(text)


def port(name: str, default: int) -> int:
    """Return a setting that is a port. Ends the process if it is not."""
    return number(name, default, 0, 65535)


def listen(host: str, name: str, default: int) -> socket.socket:
    """Return a socket that listens on the port in the setting `name`. Ends the process if that is not possible."""
    try:
        return listeners.listen(host, port(name, default), name)
    except ValueError as error:
        refuse(str(error))


def refuse(sentence: str) -> NoReturn:
    """Print a sentence and end the process."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(INVALID)
