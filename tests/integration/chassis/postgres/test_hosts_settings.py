"""A database or a role may have settings of its host. What the services need of a connection, they set themselves."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from chassis.postgres.database import UNAVAILABLE, Database
from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases
from tests.support.pair import ORDER, Pair

__all__ = ["databases"]

WAIT = {"Prefer": "wait=10"}


def give_settings(server: Postgres, databases: Databases, *settings: str) -> None:
    """Set something for all new connections to these databases, such as `DateStyle = 'German'`."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        for url in (databases.order, databases.payment):
            name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
            for setting in settings:
                administrator.execute(sql.SQL("ALTER DATABASE {} SET {}").format(name, sql.SQL(setting)))


@pytest.mark.parametrize(
    "setting",
    [
        "DateStyle = 'SQL, DMY'",
        "DateStyle = 'German'",
        "client_encoding = 'LATIN1'",
        "client_encoding = 'SJIS'",
        "client_encoding = 'SQL_ASCII'",
        "standard_conforming_strings = off",
    ],
)
def test_settings_of_the_database_change_nothing_of_an_order(
    server: Postgres, databases: Databases, setting: str
) -> None:
    give_settings(server, databases, setting)
    name = "Zażółć 日本 😀"
    with Pair(databases) as pair:
        wanted = {**ORDER, "items": [{**ORDER["items"][0], "name": name}]}  # type: ignore[dict-item]
        order = pair.order.post("/v1/orders", wanted, **WAIT).json()
        assert (order["status"], order["items"][0]["name"]) == ("paid", name)
        path = f"/v1/orders/{order['id']}"
        assert pair.order.post(f"{path}/refunds", {"amount": 100}, **WAIT).status_code == 201
        unknown = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_timeout_charged"}, **WAIT)
        assert unknown.json()["status"] == "paid"  # payment's relay has asked the provider
        for client, listed in (
            (pair.order, ("/v1/orders", f"{path}/events", f"{path}/refunds", "/v1/events")),
            (pair.payment, ("/v1/payments", f"/v1/payments?order_id={order['id']}", "/v1/ledger/entries")),
        ):
            for each in listed:
                assert client.get(each).status_code == 200, each
        for app in (pair.order_app, pair.payment_app):
            scope = f"{app.name}s:read"
            for command in (["keys", "create", "--merchant", "demo", "--scope", scope], ["keys", "list"]):
                result = app.test_cli_runner().invoke(args=command)
                assert result.exit_code == 0, (command, result.output, result.exception)
    url = f"{databases.order}?client_encoding=utf8"
    with psycopg.connect(url) as reader:
        stored = reader.execute("SELECT items -> 0 ->> 'name' FROM orders WHERE id = %s", (order["id"],)).fetchone()
    assert stored == (name,)


@pytest.fixture
def database(server: Postgres, databases: Databases) -> Iterator[Database]:
    """The order database, of whose new transactions each has the isolation `repeatable read`."""
    give_settings(server, databases, "default_transaction_isolation = 'repeatable read'")
    database = Database(databases.order, "host")
    yield database
    database.close()


def test_a_transaction_sees_what_others_have_committed_since_it_began(database: Database) -> None:
    database.session().execute("CREATE TABLE overtaken (version integer)")
    database.session().execute("INSERT INTO overtaken VALUES (1)")
    with database.connect() as other, database.transaction() as session:
        assert session.one("SELECT version FROM overtaken") == {"version": 1}
        other.execute("UPDATE overtaken SET version = 2")
        assert session.one("UPDATE overtaken SET version = 3 WHERE version = 2 RETURNING version") == {"version": 3}


def test_a_transaction_that_the_server_ends_is_a_fault_of_the_database(database: Database) -> None:
    database.session().execute("SET transaction_timeout = '50ms'")
    with pytest.raises(UNAVAILABLE):
        database.session().execute("SELECT pg_sleep(10)")
    database.session().execute("SET idle_in_transaction_session_timeout = '50ms'")

    def work() -> None:
        with database.transaction() as session:
            eventually(session.is_closed_by_server, "the server has ended the connection")
            session.execute("SELECT 1")

    with pytest.raises(UNAVAILABLE):
        work()
    assert database.session().one("SELECT 1 AS one") == {"one": 1}
