"""One pair of services per module; for each test a receiver, and an endpoint with all events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fixtures.per_module import databases, pair
from tests.support.pair import Pair
from tests.support.webhook_receiver import Receiver, path_of, register

__all__ = ["databases", "pair"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def endpoint(pair: Pair, receiver: Receiver) -> Iterator[dict[str, Any]]:
    made = register(pair.order, receiver.url)
    yield made
    pair.order.request("DELETE", path_of(made))
