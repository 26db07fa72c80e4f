"""Where Tandem is and which API key to use: options, the environment, or `.run/env`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from tandem_client.answers import parse_time
from tandem_client.client import Client

NAMES = ("ORDER_URL", "PAYMENT_URL", "API_KEY")

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class MissingSetting(click.ClickException):
    """A setting is missing or not valid. The message says where to set it."""

    exit_code = 2


def find(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return ORDER_URL, PAYMENT_URL and API_KEY from the environment, or else from `.run/env`.

    `.run/env` is looked for in `folder` and the folders above it. The two are not mixed: if one of ORDER_URL and
    API_KEY is in the environment, `.run/env` is not read. Raises MissingSetting that names a missing variable.
    """
    found = {name: environ[name] for name in NAMES if environ.get(name)}
    source = "the environment"
    if not found.keys() & {"ORDER_URL", "API_KEY"}:
        path = next(
            (each / ".run" / "env" for each in (folder, *folder.parents) if (each / ".run" / "env").is_file()), None
        )
        if path is None:
            raise MissingSetting(
                "ORDER_URL and API_KEY are not set, and there is no .run/env here or in a folder above. Set both in "
                "the environment, or start Tandem in its checkout with `make run` and call tandem from there."
            )
        found, source = _read(path), str(path)
    for name in ("ORDER_URL", "API_KEY"):
        if name not in found:
            raise MissingSetting(f"{name} is missing in {source}. Set it there.")
    return found


def folder() -> Path:
    """Return the current folder. Raises MissingSetting if it was deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        raise MissingSetting("The current folder does not exist any more. Change to another one.") from error


def _read(path: Path) -> dict[str, str]:
    """Return the variables of a file with lines NAME=value. Other lines are ignored."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingSetting(f"{path} cannot be read: {error}") from error
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in NAMES and value}


def connect(merchant: str | None, deadline: float) -> Client:
    """Create the client. Raises MissingSetting if a setting is missing or not valid."""
    found = find(os.environ, folder())
    try:
        return Client.from_env(found, merchant=merchant, deadline=deadline)
    except ValueError as error:
        raise MissingSetting(str(error)) from error


def time(value: str) -> datetime:
    """Read a point in time (RFC 3339), `now`, or how long ago it was: 30s, 10m, 2h, 7d. Raises BadParameter."""
    if value == "now":
        return datetime.now(timezone.utc)
    ago = _AGO.fullmatch(value)
    try:
        if ago is not None:
            return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = parse_time(value)
        moment.astimezone(timezone.utc)  # a time of the year 1 or 9999 may not have one
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(
            f"{value!r} is neither a time such as 2030-01-31T12:00:00Z nor how long ago it was, such as 2h"
        )
    return moment
