"""`flask keys create | list | revoke | rotate`: the API keys in a service's own database."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest

import click
from flask import Flask
from flask.cli import AppGroup

from chassis.auth import keyring, stored_keys
from chassis.cli import failures
from chassis.cli.values import Whole
from chassis.postgres.database import Row, Session
from chassis.service import Service

# The columns with their maximum widths and contents. With the gaps, a line has 80 characters.
_COLUMNS: dict[str, tuple[int, Callable[[Row], str]]] = {
    "id": (4, lambda row: str(row["id"])),
    "key": (5, lambda row: f"…{row['last_four']}"),
    "name": (10, lambda row: row["name"]),
    "merchant": (12, lambda row: row["merchant"]),
    "scopes": (15, lambda row: " ".join(row["scopes"])),
    "created": (10, lambda row: _minute(row["created_at"])),
    "expires": (10, lambda row: _minute(row["expires_at"])),
    "state": (7, lambda row: row["state"]),
}


def register(app: Flask) -> None:
    """Add the commands to the application."""
    scopes: frozenset[str] = app.extensions["tandem"].settings.scopes
    group = AppGroup("keys", help="API keys in this service's database, in addition to those in API_KEYS.")
    app.cli.add_command(group)

    def database() -> Session:
        service: Service = app.extensions["tandem"]
        return service.database.session()

    @group.command("create")
    @click.option("--merchant", required=True, callback=merchant_name, help="The merchant that the key acts for.")
    @click.option(
        "--scope",
        "scopes",
        required=True,
        multiple=True,
        type=click.Choice(sorted(scopes)),
        help="What the key may do. Repeat the option for several scopes.",
    )
    @click.option(
        "--expires-in",
        type=Whole(1, 36500),
        metavar="DAYS",
        help="Days for which the key is valid. Default: no limit.",
    )
    @click.option("--name", default="", callback=_name, help="A name that says what the key is for.")
    def create(merchant: str, scopes: Sequence[str], expires_in: int | None, name: str) -> None:
        """Create a key and print it. It is not shown again."""
        failures.require_output()
        lifetime = timedelta(days=expires_in) if expires_in else None
        _show(stored_keys.create(database(), merchant, scopes, name=name, lifetime=lifetime))

    @group.command("list")
    def list_keys() -> None:
        """Print a table of all keys, with their last four characters. Times are UTC."""
        for line in _table(stored_keys.listed(database())):
            click.echo(line)

    @group.command("revoke")
    @click.argument("key_id", metavar="ID", type=Whole(1, 2**31 - 1))
    def revoke(key_id: int) -> None:
        """Revoke a key for good. It stops working within KEY_CACHE_SECONDS."""
        if not stored_keys.revoke(database(), key_id):
            raise click.ClickException(f"there is no key {key_id}")
        click.echo(f"{app.name}: key {key_id} is revoked")

    @group.command("rotate")
    @click.argument("key_id", metavar="ID", type=Whole(1, 2**31 - 1))
    @click.option(
        "--overlap",
        type=Whole(0, 24 * 366),
        default=24,
        show_default=True,
        metavar="HOURS",
        help="Hours for which the old key stays valid.",
    )
    def rotate(key_id: int, overlap: int) -> None:
        """Create a successor of a key and print it. The old key expires after the overlap."""
        failures.require_output()
        made = stored_keys.rotate(database(), key_id, timedelta(hours=overlap))
        if made is None:
            raise click.ClickException(f"there is no valid key {key_id}")
        _show(made)


def _show(made: tuple[int, str]) -> None:
    # Only the key goes to standard output, so that it can be piped.
    key_id, key = made
    try:
        click.echo(f"This is key {key_id}. It is not stored and will not be shown again.", err=True)
        click.echo(key)
    except OSError as error:
        raise failures.Unwritten(
            f"key {key_id} was created but could not be written ({error.strerror}): "
            f"`keys rotate {key_id} --overlap 0` replaces it"
        ) from error


def merchant_name(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option that names a merchant, or None. Raises click.BadParameter."""
    if value is not None and not keyring.is_merchant(value):
        raise click.BadParameter("must be 1 to 64 letters, digits, dots, dashes and underscores")
    return value


def _name(_: click.Context, __: click.Parameter, value: str) -> str:
    if len(value) > 64 or not value.isprintable():
        raise click.BadParameter("must be at most 64 printable characters")
    return value


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else "never"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Return the lines of a table, at most 80 characters wide. Cells that are too wide are wrapped."""
    lines = [[[column] for column in _COLUMNS]]
    lines += [[textwrap.wrap(text(row), width) for width, text in _COLUMNS.values()] for row in rows]
    widths = [max(len(part) for cell in column for part in cell or [""]) for column in zip(*lines, strict=True)]
    for row in lines:
        for parts in zip_longest(*row, fillvalue=""):
            yield " ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
