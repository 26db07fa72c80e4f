"""One pair of services for all tests of a module, or order's API alone."""

import os
from typing import Any
from unittest import mock

import pytest

import order
from tests.support.databases import Databases
from tests.support.fixtures.per_module import databases, pair
from tests.support.settings import environment

__all__ = ["client", "databases", "pair"]


@pytest.fixture(scope="module")
def client(databases: Databases) -> Any:  # noqa: F811
    """Return a client of order's API. There is no relay, so nothing happens to an order after it is placed."""
    with mock.patch.dict(
        os.environ, environment(databases.service_url("order"), {"PAYMENT_URL": "http://127.0.0.1:9"})
    ):
        return order.create_app().test_client()
