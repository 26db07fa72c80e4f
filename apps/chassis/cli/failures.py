"""Commands that cannot do their work: one sentence, and exit status 2.

A system that they need does not respond, a setting is missing or invalid, or their output cannot be written.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import IO, Any, ParamSpec, TypeVar

import click
import psycopg
from environs import EnvError
from flask.cli import AppGroup

from chassis.config import ConfigError
from chassis.messaging.remote import Refused, Unreachable
from chassis.postgres.database import UNAVAILABLE

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_LONGEST = 500
"""How many characters of a message about a setting or an argument are printed."""


_UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN})
"""What a write to standard output or standard error fails with. Click itself ends a command whose reader has gone."""


_ANSWERED = ("25P03", "25P04", "40", "53", "54", "55", "57014")
"""The first characters of the SQLSTATEs with which a database that responds gives up a statement, such as after a
timeout, on a full disk or because of a deadlock."""


class Failure(click.ClickException):
    """The command could not do its work."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message, if it can be printed: the exit status is the same without it."""
        try:
            super().show(file)
        except OSError:
            _discard_unwritten()


class BadSetting(Failure):
    """A setting is missing or invalid. Correct it and repeat the command."""


class NoResponse(Failure):
    """A database or another service does not respond, or gave up. Repeat the command when the cause is gone."""


class DatabaseRefuses(Failure):
    """The database refuses what the command does. Change the database and repeat the command."""


class Unwritten(Failure):
    """The output of the command could not be written."""


class Commands(AppGroup):
    """The commands of a service. None ends in a traceback because of another system, a setting or its output.

    Their messages name them as `tandem-admin` does, and have a limited length.
    """

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command or a group of commands."""
        invoke, make_context = cmd.invoke, cmd.make_context

        def named(
            info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
        ) -> click.Context:
            if parent is not None:
                parent.info_name = f"tandem-admin {self.name}"
            with reported():
                return make_context(info_name, args, parent, **extra)

        def guarded(context: click.Context) -> Any:
            with reported():
                return invoke(context)

        cmd.make_context = named  # type: ignore[method-assign]
        cmd.invoke = guarded  # type: ignore[method-assign, assignment]
        super().add_command(cmd, name)


@contextmanager
def reported() -> Iterator[None]:
    """Run the block.

    Raises NoResponse if another system does not respond, BadSetting if a setting is invalid, Unwritten if the output
    cannot be written.
    """
    try:
        yield
    except Unwritten:
        _discard_unwritten()
        raise
    except click.UsageError as error:
        error.message = _sentence(error.message)  # type: ignore[misc]
        raise
    except (ConfigError, EnvError) as error:
        raise BadSetting(_sentence(error)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITTEN:
            _discard_unwritten()
            raise Unwritten(f"the output cannot be written, and the command has stopped: {error.strerror}") from error
        text = _text(cause(error))
        if text is None:
            raise
        if sys.stdout is not None:
            sys.stdout.flush()  # what the command has printed comes before the error
        raise NoResponse(text) from error


def require_output() -> None:
    """Raise Unwritten if standard output is closed. For commands that print something only once, such as a key."""
    if sys.stdout is None:
        raise Unwritten("standard output is closed, so nothing was done")


def _discard_unwritten() -> None:
    """Discard output that cannot be written. Otherwise Python writes it again when it exits, and changes the status."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def with_valid_settings(create: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function that creates the application: in `flask` and gunicorn, an invalid setting is one sentence.

    Both show any exception as a traceback, so this prints the sentence and exits with status 2. Other callers get the
    exception.
    """

    @wraps(create)
    def created(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return create(*args, **kwargs)
        except (ConfigError, EnvError) as error:
            if click.get_current_context(silent=True) is None and not _is_gunicorn():
                raise
            BadSetting(_sentence(error)).show()
            sys.exit(BadSetting.exit_code)

    return created


def _is_gunicorn() -> bool:
    """Return whether gunicorn loads the application: it names itself in the environment before."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")


def _sentence(error: object) -> str:
    """Return the message on one line and of a limited length, whatever the setting or the argument is."""
    text = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in str(error)[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def describe(error: BaseException) -> str:
    """Return what a failure of the database means: one sentence without a final stop."""
    return _text(error) or str(error)


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return _sentence(next(iter(str(error).strip().splitlines()), type(error).__name__))


def cause(error: BaseException) -> BaseException:
    """Return the error of psycopg that SQLAlchemy has wrapped in its own, or the error itself.

    Where a connection was lost, SQLAlchemy's own error is that it cannot go on. The first one is its context.
    """
    each: BaseException | None = error
    while each is not None and type(each).__module__.startswith("sqlalchemy."):
        original = getattr(each, "orig", None)
        if isinstance(original, psycopg.Error):
            return original
        each = each.__context__
    return error


def _text(error: BaseException) -> str | None:
    if isinstance(error, Unreachable | Refused):
        return str(error)
    if not isinstance(error, UNAVAILABLE):
        return None
    reason = reason_of(error)
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
    if (error.sqlstate or "").startswith(_ANSWERED):
        return f"the database gave up a statement: {reason}; repeat the command when the cause is gone"
    return f"the database does not respond: {reason}"
