"""What the commands refuse as an argument: with exit status 2, a short message, and without doing anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import pytest
from flask import Flask

from chassis.cli.values import Moment, Seconds, Whole
from tests.support.applications import SERVICES, make
from tests.support.databases import Databases

FUTURE = (datetime.now(UTC) + timedelta(days=400)).isoformat()
NUMBERS = ("", "１２", "٣", "1_000", " 5", "5 ", "+5", "1e1", "0x10", "nan", "inf", "-1", "9" * 5000, "x" * 100_000)


def refusal(app: Flask, *arguments: str) -> str:
    """Run a command that must be refused, and return its message."""
    result = app.test_cli_runner().invoke(args=arguments)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), (arguments, result.output, result.exception)
    assert len(result.output) < 1200
    assert f"Try 'tandem-admin {app.name} " in result.output, "the next step can be run"
    return result.output


def parameters(group: click.Group) -> Iterator[click.Parameter]:
    for command in group.commands.values():
        yield from parameters(command) if isinstance(command, click.Group) else command.params


@pytest.mark.parametrize("service", SERVICES)
def test_a_number_has_only_digits(databases: Databases, service: str) -> None:
    app = make(databases, service)
    create = ("keys", "create", "--merchant", "m", "--scope", f"{service}s:read")
    for number in NUMBERS:
        assert "'ID'" in refusal(app, "keys", "revoke", "--", number)
        assert "'ID'" in refusal(app, "keys", "rotate", "--", number)
        assert "'--overlap'" in refusal(app, "keys", "rotate", "1", "--overlap", number)
        assert "'--expires-in'" in refusal(app, *create, "--expires-in", number)
        assert "'--wait'" in refusal(app, "migrate", "--wait", number)
    for each in parameters(app.cli):
        if isinstance(each.type, click.types.IntParamType | click.types.FloatParamType):
            assert isinstance(each.type, Whole | Seconds), f"{each.name} also takes numbers such as 1_000"


@pytest.mark.parametrize("service", SERVICES)
def test_the_message_about_a_time_names_the_option_and_is_short(databases: Databases, service: str) -> None:
    app = make(databases, service)
    timed = [("reconcile", "--since"), ("reconcile", "--until"), ("resync", "--since")]
    for command, option in [*timed, *([("republish", "--since")] if service == "order" else [])]:
        for text in ("", "yesterday", "２０２６-01-01", "2026-01-01T25:00:00Z", "a\x1b[31mred\n", "x" * 100_000):
            message = refusal(app, command, option, text)
            assert f"'{option}'" in message
            assert "\x1b" not in message
    assert all(isinstance(each.type, Moment) for each in parameters(app.cli) if each.name in ("since", "until"))


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_compared_in_an_empty_period(databases: Databases, service: str) -> None:
    app = make(databases, service)
    for period in (["--since", FUTURE], ["--since", "2026-01-02", "--until", "2026-01-01"]):
        assert "the period is empty" in refusal(app, "reconcile", *period)


@pytest.mark.parametrize(("service", "command"), [("order", "resync"), ("payment", "resync"), ("order", "republish")])
def test_nothing_is_repeated_since_a_time_in_the_future(databases: Databases, service: str, command: str) -> None:
    assert "is in the future" in refusal(make(databases, service), command, "--since", FUTURE)
