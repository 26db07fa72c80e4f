"""One pair of services for all tests of a module, and the order service's admin port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from flask import Flask
from werkzeug.serving import make_server

from tests.support.applications import make
from tests.support.databases import Databases
from tests.support.fixtures.per_module import databases, pair
from tests.support.listening import listening
from tests.support.operator_client import Desk
from tests.support.pair import Pair

__all__ = ["databases", "pair"]


def served(app: Flask, running: ExitStack) -> str:
    """Where the admin port of an application listens from now on."""
    server = make_server("127.0.0.1", 0, app.extensions["tandem"].admin, threaded=True)
    running.enter_context(listening(server))
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture(scope="module")
def admin_url(pair: Pair) -> Iterator[str]:
    """Where order's admin port listens."""
    with ExitStack() as running:
        yield served(pair.order_app, running)


@pytest.fixture
def stranger(admin_url: str) -> Desk:
    """Somebody who is not signed in."""
    return Desk(admin_url)


@pytest.fixture
def desk(admin_url: str) -> Desk:
    """Somebody who is signed in, and may act."""
    desk = Desk(admin_url)
    assert desk.sign_in().status_code == 303
    return desk


@pytest.fixture
def desk_of(databases: Databases) -> Iterator[Callable[..., Desk]]:
    """A desk at an order service with settings of the test's own; nobody is signed in."""
    with ExitStack() as running:
        yield lambda **settings: Desk(served(make(databases, "order", **settings), running))
