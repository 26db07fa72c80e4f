"""Orders of real processes arrive at a broker, while it and the publisher are killed: what `make chaos` does."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.broker import Broker
from tests.chaos.consumer import completeness
from tests.chaos.facts import Facts
from tests.chaos.log import Log
from tests.chaos.workload import MERCHANTS
from tests.support.pair import ORDER, Client
from tests.support.stack import Stack


def test_every_event_arrives_at_the_broker_and_a_missing_one_is_noticed(stack: Stack, tmp_path: Path) -> None:
    with Broker(11, stack, stack.databases, tmp_path) as broker:
        for _ in range(40):
            for key in MERCHANTS.values():
                placed = Client(stack.order.url, key).post("/v1/orders", ORDER, Prefer="wait=5")
                assert placed.status_code == 201, placed.text
        consumers = broker.consumers()
        for consumer in consumers:
            consumer.finish()
        facts = Facts(Log(), stack.databases, stack.order, stack.payment)
        assert [wrong for wrong in completeness(facts, consumers) if wrong] == []
        assert sum(len(consumer.received) for consumer in consumers) >= 160
        lost = consumers[0].received.pop(7)
        (wrong, *_) = [wrong for wrong in completeness(facts, consumers) if wrong]
        assert lost[1] in wrong
