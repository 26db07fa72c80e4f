"""Every command says in a sentence, with exit status 2, why it cannot do its work.

Its database or the other service does not respond, or a setting is missing or invalid.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import click
import pytest
from click.testing import CliRunner, Result
from flask import Flask, cli

from ci.laptop.postgres import Postgres
from tests.support import replication
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
    "republish": ["--since", "2020-01-01T00:00:00Z"],
    "resync": ["--since", "2020-01-01T00:00:00Z"],
    "webhooks dead": [],
    "webhooks redeliver": ["--all"],
}
READ_ONLY = frozenset({"keys list", "orphans", "reconcile", "webhooks dead"})
"""The commands that only read."""

SELDOM = frozenset({"relay", "publisher"})
"""The relay and the publisher wait for their database: tests/integration/faults/test_database_away.py."""


@pytest.fixture(scope="module")
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Both databases, on a server in recovery. The server that it was copied from has ended."""
    folder = tmp_path_factory.mktemp("recovery")
    with Postgres(folder / "primary", durable=False) as primary:
        created = Databases.create(primary)
        created.migrate()
        server = Postgres(folder / "standby", durable=False)
        replication.copy(primary, server)
    with server:
        moved = (url.replace(f":{primary.port}/", f":{server.port}/") for url in astuple(created))
        yield Databases(*moved)


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
def test_a_server_in_recovery(standby: Databases, service: str) -> None:
    app = make(standby, service, url=getattr(standby, service))
    for name, arguments in commands(app):
        result = app.test_cli_runner().invoke(args=arguments)
        if name in READ_ONLY or name == "migrate":
            assert result.exit_code == (2 if (service, name) == ("order", "reconcile") else 0), (name, result.output)
        elif (service, name) == ("payment", "resync"):
            assert (result.exit_code, "the database is read-only: " in result.output) == (2, True), result.output
        else:
            assert_is_sentence(result, "the database is read-only: ", name)


@pytest.mark.parametrize(
    ("state", "message"),
    [("53100", "could not extend file: No space left on device"), ("57014", "canceling statement due to timeout")],
    ids=["a full disk", "a timeout"],
)
def test_a_database_that_gives_up_a_statement_is_not_said_to_be_silent(
    databases: Databases, state: str, message: str
) -> None:
    databases.query(
        "order",
        f"""CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$;
            CREATE TRIGGER give_up BEFORE INSERT ON api_keys EXECUTE FUNCTION give_up()""",
    )
    app = make(databases, "order")
    name, arguments = next(each for each in commands(app) if each[0] == "keys create")
    result = app.test_cli_runner().invoke(args=arguments)
    databases.query("order", "DROP FUNCTION give_up CASCADE")
    said = f"the database gave up a statement: {message}; repeat the command when the cause is gone"
    assert_is_sentence(result, said, name)


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_that_is_not_migrated(databases: Databases, server: Postgres, service: str) -> None:
    app = make(databases, service, url=server.create_database(f"failures_{uuid.uuid4().hex[:12]}"))
    for name, arguments in commands(app):
        if name != "migrate":
            assert_is_sentence(app.test_cli_runner().invoke(args=arguments), "the database is not migrated: ", name)


NOWHERE = "postgresql://nobody:a-secret@127.0.0.1:1/nothing"


def run(service: str, arguments: list[str], settings: dict[str, str]) -> Result:
    """Run `flask --app SERVICE ...` with nothing but these settings."""
    with mock.patch.dict(os.environ, settings, clear=True):
        return CliRunner().invoke(cli.cli, ["--app", service, *arguments])


BOTH = {
    "missing": ({"DATABASE_URL": ""}, "DATABASE_URL"),
    "not a database": ({"DATABASE_URL": "mysql://nobody:a-secret@127.0.0.1/x"}, "DATABASE_URL"),
    "a line break in a URL": ({"DATABASE_URL": "postgresql://nobody:a-secret\n@127.0.0.1/x"}, "DATABASE_URL"),
    "a malformed URL": ({"PUBLIC_URL": "http://[::1"}, "PUBLIC_URL"),
    "a missing file": ({"API_KEYS_FILE": "/nonexistent/keys"}, "API_KEYS_FILE"),
    "a folder": ({"EVENTS_SECRETS_FILE": "/"}, "EVENTS_SECRETS_FILE"),
    "no number": ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS"),
    "no port": ({"RELAY_ADMIN_PORT": "70000"}, "RELAY_ADMIN_PORT"),
    "a long value of several lines": ({"LOG_LEVEL": "a\nb" * 10_000}, "LOG_LEVEL"),
    "no certificates": ({"TRUSTED_CA": "\u0663"}, "TRUSTED_CA"),
}
OWN = {
    "order": {
        "a malformed URL of the other service": ({"PAYMENT_URL": "http://payment:port"}, "PAYMENT_URL"),
        "a line break in a key": ({"PAYMENT_API_KEY": "a-secret\nwith two lines"}, "PAYMENT_API_KEY"),
        "a malformed proxy": ({"WEBHOOK_PROXY": "http://[::1"}, "WEBHOOK_PROXY"),
    },
    "payment": {
        "an unknown provider": ({"PROVIDER": "bank"}, "PROVIDER"),
        "a key of the provider that is missing": ({"PROVIDER": "stripe"}, "STRIPE_API_KEY"),
        "a line break in a key": ({"STRIPE_API_KEY": "a-secret\nwith two lines"}, "STRIPE_API_KEY"),
    },
}


@pytest.mark.parametrize(
    ("service", "settings", "name"),
    [
        pytest.param(service, *wrong, id=f"{service}, {what}")
        for service in SERVICES
        for what, wrong in (BOTH | OWN[service]).items()
    ],
)
def test_a_setting_that_is_wrong_is_one_sentence(service: str, settings: dict[str, str], name: str) -> None:
    for arguments in (["keys", "list"], ["relay"], ["migrate"], ["purge"], ["--help"]):
        result = run(service, arguments, {"DATABASE_URL": NOWHERE, **settings})
        assert_is_sentence(result, name, str(arguments))
        assert len(result.output.splitlines()) == 1
        assert len(result.output) < 600


def test_a_setting_that_only_one_command_needs_is_one_sentence() -> None:
    assert_is_sentence(run("payment", ["relay"], {"DATABASE_URL": NOWHERE}), "EVENTS_SECRETS", "relay")
    settings = {"DATABASE_URL": NOWHERE, "MIGRATION_DATABASE_URL": "mysql://owner:a-secret@127.0.0.1/x"}
    assert_is_sentence(run("order", ["migrate"], settings), "MIGRATION_DATABASE_URL", "migrate")
    assert_is_sentence(run("order", ["publisher"], {"DATABASE_URL": NOWHERE}), "EVENTS_URL", "publisher")
    owner = "postgresql://owner:a-secret@127.0.0.1:1/nothing"
    settings = {"DATABASE_URL": "postgresql://127.0.0.1:1/nothing", "MIGRATION_DATABASE_URL": owner}
    assert_is_sentence(run("payment", ["migrate"], settings), "DATABASE_URL", "migrate")


def test_a_relay_whose_admin_port_is_in_use_ends_with_a_sentence(databases: Databases) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"DATABASE_URL": databases.service_url("order"), "HOST": "127.0.0.1", "RELAY_ADMIN_PORT": port}
        assert_is_sentence(run("order", ["relay"], settings), f"RELAY_ADMIN_PORT={port}", "relay")


def test_a_file_that_is_not_text_is_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "key"
    binary.write_bytes(b"\xff\xfe")
    for name in ("API_KEYS", "TRUSTED_CA"):
        result = run("order", ["relay"], {"DATABASE_URL": NOWHERE, f"{name}_FILE": str(binary)})
        assert_is_sentence(result, f"{name}_FILE", "relay")
