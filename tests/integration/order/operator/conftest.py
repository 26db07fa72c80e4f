"""One pair of services for all tests of a module, and browsers at the order service's admin port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from tests.support.applications import make
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.per_module import databases, pair
from tests.support.listening import listening
from tests.support.operator_client import Desk
from tests.support.pair import ORDER, Pair

__all__ = ["databases", "pair"]


def serve_admin_port(app: Flask, running: ExitStack) -> str:
    """Serve the admin port of an application and return its base URL."""
    server = make_server("127.0.0.1", 0, app.extensions["tandem"].admin, threaded=True)
    running.enter_context(listening(server))
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture(scope="module")
def admin_url(pair: Pair) -> Iterator[str]:
    """Base URL of the order service's admin port."""
    with ExitStack() as running:
        yield serve_admin_port(pair.order_app, running)


@pytest.fixture
def anonymous(admin_url: str) -> Desk:
    """A browser that is not signed in."""
    return Desk(admin_url)


@pytest.fixture
def operator(admin_url: str) -> Desk:
    """A browser that is signed in with `operator:read` and `operator:write`."""
    browser = Desk(admin_url)
    assert browser.sign_in().status_code == 303
    return browser


@pytest.fixture
def browser_for(databases: Databases) -> Iterator[Callable[..., Desk]]:
    """A function: starts another order service with the given settings, returns a browser that is not signed in."""
    with ExitStack() as running:
        yield lambda **settings: Desk(serve_admin_port(make(databases, "order", **settings), running))


@pytest.fixture
def waiting_order(pair: Pair, databases: Databases) -> dict[str, Any]:
    """An order whose command to payment has failed and waits for an hour, although payment runs again."""
    pair.stop_payment()
    try:
        order: dict[str, Any] = pair.order.post("/v1/orders", ORDER).json()
        eventually(
            lambda: databases.query(
                "order",
                """UPDATE outbox SET available_at = now() + interval '1 hour', attempts = 9,
                          last_error = 'payment answered 422'
                   WHERE aggregate_id = %s AND leased_until IS NULL AND last_error IS NOT NULL RETURNING id""",
                order["id"],
            ),
            "it has failed and waits for its next attempt",
        )
    finally:
        pair.start_payment()
    return order
