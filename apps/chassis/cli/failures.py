"""Commands that fail because a system that they need does not respond: one sentence, and exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import psycopg
from flask.cli import AppGroup

from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import UNAVAILABLE


class NoResponse(click.ClickException):
    """A database, or another service, does not respond. Repeat the command when it does."""

    exit_code = 2


class Commands(AppGroup):
    """The commands of a service. None of them ends in a traceback because a system does not respond."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command or a group of commands."""
        invoke = cmd.invoke

        def guarded(context: click.Context) -> Any:
            with reported():
                return invoke(context)

        cmd.invoke = guarded  # type: ignore[method-assign, assignment]
        super().add_command(cmd, name)


@contextmanager
def reported() -> Iterator[None]:
    """Run the block. Raises NoResponse if a database or another service does not respond."""
    try:
        yield
    except Exception as error:
        text = _text(_cause(error))
        if text is None:
            raise
        sys.stdout.flush()  # what the command has printed comes before the error
        raise NoResponse(text) from error


def describe(error: BaseException) -> str:
    """Return what a failure of the database means: one sentence without a final stop."""
    return _text(error) or str(error)


def _cause(error: Exception) -> BaseException:
    """Return the error of psycopg that SQLAlchemy has wrapped in its own, or the error itself."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, psycopg.Error) else error


def _text(error: BaseException) -> str | None:
    if isinstance(error, Unreachable | Refused):
        return str(error)
    if not isinstance(error, UNAVAILABLE):
        return None
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    match error:
        case psycopg.errors.ReadOnlySqlTransaction():
            return f"the database is read-only: {reason}"
        case psycopg.errors.InsufficientPrivilege():
            return f"the role of the database's URL lacks a privilege, or the database is not migrated: {reason}"
        case (
            psycopg.errors.UndefinedTable()
            | psycopg.errors.UndefinedColumn()
            | psycopg.errors.UndefinedFunction()
            | psycopg.errors.InvalidSchemaName()
        ):
            return f"the database is not migrated: {reason}"
    return f"the database does not respond: {reason}"
