"""The command `tandem` with its options, and how errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click
from click.shell_completion import get_completion_class

from tandem_client import errors
from tandem_client.cli.events import events
from tandem_client.cli.listen import listen
from tandem_client.cli.orders import orders
from tandem_client.cli.output import Output, discard_unwritten, shortened, warn
from tandem_client.cli.session import Session
from tandem_client.cli.trigger import trigger
from tandem_client.cli.values import Seconds
from tandem_client.version import __version__

COMPLETION_VARIABLE = "_TANDEM_COMPLETE"

INTERRUPTED = 130
NOT_WRITTEN = 8
"""The output could not be written. What the command changes is done, unless it failed before."""


@click.group(
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage or setting, 3 API key refused, 4 not found, "
    "5 outcome unknown, 6 not available, 7 done but declined or not settled, "
    "8 output not written, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--output", type=click.Choice(["auto", "table", "json"]), default="auto", help="auto: JSON when piped.")
@click.option("--merchant", help="Act for this merchant, with an API key for any merchant.")
@click.option("--deadline", type=Seconds(0.1, 3600), default=30, help="Seconds for a call with its retries.")
@click.version_option(__version__, prog_name="tandem")
@click.pass_context
def tandem(context: click.Context, output: str, merchant: str | None, deadline: float) -> None:
    """Place and manage orders, follow events, and receive webhooks on your machine.

    The environment variables ORDER_URL, PAYMENT_URL and API_KEY say where Tandem is. Without them, the file .run/env of
    `make run` is used, from this folder or one above. Amounts to pass are in minor units: 450 is 4.50 EUR.
    """
    context.obj = Session(Output(output), merchant, deadline)
    context.call_on_close(context.obj.close)


@tandem.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    bash: eval "$(tandem completion bash)" in ~/.bashrc. zsh: eval "$(tandem completion zsh)" in ~/.zshrc. fish: tandem
    completion fish > ~/.config/fish/completions/tandem.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(tandem, {}, "tandem", COMPLETION_VARIABLE).source())


for command in (orders, events, listen, trigger):
    tandem.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run `tandem` with these arguments and return the exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what an encoding such as ASCII lacks
    try:
        return _run(arguments)
    except OSError as error:
        return _not_written(error)
    except SystemExit:
        if COMPLETION_VARIABLE in os.environ:
            raise
        return _not_written(BrokenPipeError())  # click found that nobody reads the output any more


def _run(arguments: Sequence[str]) -> int:
    if sys.stdout is None:
        warn("Error: standard output is closed, so nothing was done. Send it to /dev/null if you do not need it.")
        return 2
    try:
        result = tandem.main(
            list(arguments), prog_name="tandem", complete_var=COMPLETION_VARIABLE, standalone_mode=False
        )
    except click.ClickException as error:
        error.message = shortened(error.message)  # type: ignore[misc]
        try:
            error.show()
        except OSError:
            discard_unwritten()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except errors.TandemError as error:
        warn(f"Error: {_message(error)}")
        return exit_code(error)
    except UnicodeEncodeError:
        warn("Error: an argument is not text in UTF-8. Is the locale right, such as LANG=C.UTF-8?")
        return 2
    except ValueError as error:  # an argument that cannot be sent, such as an empty id
        warn(f"Error: {shortened(str(error))}")
        return 2
    return result if isinstance(result, int) else 0


def _not_written(error: OSError) -> int:
    """Say that the output is lost, and return the exit code. What the command has changed stays changed."""
    discard_unwritten()
    if not isinstance(error, BrokenPipeError):
        warn(f"Error: the output cannot be written: {error.strerror}. What was asked may be done: check it first.")
    return NOT_WRITTEN


def exit_code(error: errors.TandemError) -> int:
    """Return the exit code for an error."""
    kinds: list[tuple[type[errors.TandemError], int]] = [
        (errors.Unauthorized, 3),
        (errors.Forbidden, 3),
        (errors.NotFound, 4),
        (errors.OutcomeUnknown, 5),
        (errors.RateLimited, 6),
        (errors.Unavailable, 6),
        (errors.StatusNotReached, 7),
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), 1)


def _message(error: errors.TandemError) -> str:
    """Return what happened and what to do next."""
    if isinstance(error, errors.OutcomeUnknown):
        return (
            f"{error}\nRun the same command again with --idempotency-key {error.idempotency_key}: "
            "nothing is done twice."
        )
    if isinstance(error, errors.Unavailable):
        return f"{error}\nCheck that Tandem runs at this URL (`make run` in its checkout), then run the command again."
    if isinstance(error, errors.Unauthorized):
        return f"{error}\nSet API_KEY to a key of this Tandem. `make run` writes one to .run/env."
    return str(error)
