"""What the commands share: the client, the output, and options that several of them have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tandem_client.cli.output import Output
from tandem_client.cli.settings import MissingSetting, connect, find, folder
from tandem_client.cli.values import Whole
from tandem_client.client import Client
from tandem_client.errors import TandemError

F = TypeVar("F", bound=Callable[..., Any])

NOT_AS_ASKED = 7
"""The exit code if the service has acted and the result is a decline, or not settled yet."""


class Session:
    """The client and the output of one run of `tandem`. The client is created when it is first needed."""

    def __init__(self, output: Output, merchant: str | None, deadline: float) -> None:
        self.output = output
        self._options = (merchant, deadline)
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client. Raises MissingSetting if a setting is missing or not valid."""
        if self._client is None:
            self._client = connect(*self._options)
        return self._client

    def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            self._client.close()


pass_session = click.make_pass_decorator(Session)


def complete_order_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the newest orders that begin with `incomplete`, for the shell. None if Tandem is away."""
    try:
        with Client.from_env(find(os.environ, folder()), timeout=1, deadline=2) as client:
            newest = client.list_orders(page_size=20)
            return [order.id for _, order in zip(range(20), newest) if order.id.startswith(incomplete)]  # noqa: B905
    except (TandemError, MissingSetting, ValueError):
        return []


def order_id(command: F) -> F:
    """Add the argument ORDER_ID."""
    return click.argument("order_id", shell_complete=complete_order_id)(command)


def writes(command: F) -> F:
    """Add the options of commands that change an order."""
    for option in (
        click.option("--idempotency-key", help="Continue an earlier command whose outcome is unknown."),
        click.option("--wait", type=Whole(0, 10), default=5, help="Seconds to wait for the outcome."),
    ):
        command = option(command)
    return command


def if_match(command: F) -> F:
    """Add the option --if-match."""
    return click.option(
        "--if-match", type=Whole(0), metavar="VERSION", help="Only if the order still has this version."
    )(command)


def parse_labels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """Return the labels of options NAME=VALUE, or None without any. Raises BadParameter."""
    pairs = [value.partition("=") for value in values]
    for name, sign, _ in pairs:
        if not (name and sign):
            raise click.BadParameter("a label is NAME=VALUE, such as cart=9")
    return {name: value for name, _, value in pairs} or None


def labels(command: F) -> F:
    """Add the option --metadata, which can be repeated."""
    return click.option(
        "--metadata", multiple=True, metavar="NAME=VALUE", callback=parse_labels, help="A label; can be repeated."
    )(command)
