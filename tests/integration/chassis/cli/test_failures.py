"""Every command says in a sentence, with exit status 2, that its database or the other service does not respond."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import click
import pytest
from click.testing import Result
from flask import Flask

from ci.laptop.postgres import Postgres
from tests.support.applications import SERVICES, make
from tests.support.databases import Databases

ARGUMENTS = {
    "keys create": ["--merchant", "demo", "--scope", "orders:read"],
    "keys list": [],
    "keys revoke": ["1"],
    "keys rotate": ["1"],
    "migrate": ["--wait", "0"],
    "orphans": [],
    "purge": [],
    "reconcile": [],
    "resync": ["--since", "2020-01-01T00:00:00Z"],
    "webhooks dead": [],
    "webhooks redeliver": ["--all"],
}
READ_ONLY = frozenset({"keys list", "orphans", "reconcile", "webhooks dead"})
"""The commands that only read."""

SELDOM = frozenset({"relay"})
"""The relay waits for its database: tests/integration/faults/test_database_away.py."""


def commands(app: Flask) -> Iterator[tuple[str, list[str]]]:
    """Yield the names of all commands, with their arguments."""
    for name, command in app.cli.commands.items():
        group = command.commands if isinstance(command, click.Group) else {}
        for full in [f"{name} {member}" for member in group] or [name]:
            if full not in SELDOM:
                arguments = [each.replace("orders:", f"{app.name}s:") for each in ARGUMENTS[full]]
                yield full, [*full.split(), *arguments]


def assert_is_sentence(result: Result, said: str, name: str) -> None:
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), (name, result.output, result.exception)
    assert said in result.output, name
    assert "Traceback" not in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": "1"}, "the database does not respond: "),
        ({"password": "wrong"}, "password authentication failed"),
        ({"host": "database.invalid"}, "the database does not respond: "),
        ({"path": "/nothing"}, 'database "nothing" does not exist'),
    ],
    ids=["down", "wrong password", "unknown host", "unknown database"],
)
def test_a_database_that_cannot_be_reached(
    databases: Databases, service: str, change: dict[str, str], said: str
) -> None:
    parts = urlsplit(databases.service_url(service))
    host, port = change.get("host", parts.hostname), change.get("port", parts.port)
    netloc = f"{parts.username}:{change.get('password', parts.password)}@{host}:{port}"
    app = make(databases, service, url=parts._replace(netloc=netloc, path=change.get("path", parts.path)).geturl())
    for name, arguments in commands(app):
        assert_is_sentence(app.test_cli_runner().invoke(args=arguments), said, name)


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_that_is_read_only(databases: Databases, service: str) -> None:
    # The owner's role, so that `migrate` has something to do: it takes back and grants privileges.
    url = f"{getattr(databases, service)}?options=-c%20default_transaction_read_only%3Don"
    app = make(databases, service, url=url)
    for name, arguments in commands(app):
        result = app.test_cli_runner().invoke(args=arguments)
        if name in READ_ONLY or name == "migrate":  # without another role and with the newest schema, it only reads
            # Order's reconcile asks payment, which is not there.
            expected = (2,) if (service, name) == ("order", "reconcile") else (0, 1)
            assert result.exit_code in expected, (name, result.output, result.exception)
        elif name == "resync" or (name == "webhooks redeliver" and result.exit_code == 0):
            assert result.exit_code in (0, 2), (name, result.output, result.exception)
        else:
            assert_is_sentence(result, "the database is read-only: ", name)


@pytest.mark.parametrize("service", SERVICES)
def test_a_read_only_database_is_not_migrated(
    databases: Databases, server: Postgres, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"failures_{uuid.uuid4().hex[:12]}"
    url = f"{server.create_database(name)}?options=-c%20default_transaction_read_only%3Don"
    app = make(databases, service, url=url)
    result = app.test_cli_runner().invoke(args=["migrate", "--wait", "0"])
    assert_is_sentence(result, "the database is read-only: ", "migrate")
    monkeypatch.setenv("MIGRATION_DATABASE_URL", url)
    app = make(databases, service, url=server.create_service_role(name))
    result = app.test_cli_runner().invoke(args=["migrate", "--wait", "0"])
    assert_is_sentence(result, "the database is read-only: ", "migrate")


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_that_is_not_migrated(databases: Databases, server: Postgres, service: str) -> None:
    app = make(databases, service, url=server.create_database(f"failures_{uuid.uuid4().hex[:12]}"))
    for name, arguments in commands(app):
        if name != "migrate":
            assert_is_sentence(app.test_cli_runner().invoke(args=arguments), "the database is not migrated: ", name)
