"""The order of a journey's steps, what an order waits for, and whether the ledger balances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from order.operator import model
from order.operator.model import Party, Step
from order.operator.records import time_windows

BEGIN = datetime(2030, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_a_command_is_listed_after_the_event_it_was_committed_with() -> None:
    placed = Step(at(0.0001), Party.MERCHANT, Party.ORDER, "order.placed")
    paid = Step(at(0.010), Party.PAYMENT, Party.ORDER, "order.paid")
    command = Step(at(0), Party.ORDER, Party.PAYMENT, "payment.create")
    sale = Step(at(0.005), Party.PAYMENT, Party.PROVIDER, "sale")
    webhook = Step(at(0.0099), Party.ORDER, Party.ENDPOINT, "order.paid")
    steps = model.journey([placed, paid], [webhook, sale, command])
    assert [step.name for step in steps] == ["order.placed", "payment.create", "sale", "order.paid", "order.paid"]
    assert steps[-1].receiver is Party.ENDPOINT
    assert steps[2].started_at == sale.started_at


def test_a_command_stays_before_the_next_event_although_that_follows_soon() -> None:
    placed = Step(at(0), Party.MERCHANT, Party.ORDER, "order.placed")
    command = Step(at(0.001), Party.ORDER, Party.PAYMENT, "payment.create", ended_at=at(0.040))
    sale = Step(at(0.005), Party.PAYMENT, Party.PROVIDER, "sale")
    updated = Step(at(0.014), Party.PAYMENT, Party.ORDER, "payment.updated")
    steps = model.journey([placed, updated], [sale, command])
    assert [step.name for step in steps] == ["order.placed", "payment.create", "sale", "payment.updated"]


def test_an_order_waits_for_steps_without_an_outcome_except_webhooks() -> None:
    webhook = Step(at(0), Party.ORDER, Party.ENDPOINT, "order.placed", "waiting")
    sale = Step(at(1), Party.PAYMENT, Party.PROVIDER, "sale", "waiting", attempts=3)
    assert model.waits_for([webhook, sale]) is sale
    assert model.waits_for([webhook]) is None


def test_the_duration_of_a_step_is_none_until_it_ends_and_never_negative() -> None:
    assert Step(at(0), Party.ORDER, Party.PAYMENT, "x").seconds is None
    assert Step(at(0), Party.ORDER, Party.PAYMENT, "x", ended_at=at(2)).seconds == 2
    assert Step(at(1), Party.ORDER, Party.PAYMENT, "x", ended_at=at(0)).seconds == 0


def test_imbalances_are_computed_per_currency() -> None:
    accounts = [
        {"account": "a", "currency": "EUR", "debits": 5, "credits": 1},
        {"account": "b", "currency": "EUR", "debits": 0, "credits": 4},
        {"account": "a", "currency": "JPY", "debits": 4, "credits": 0},
    ]
    assert model.imbalances(accounts) == {"EUR": 0, "JPY": 4}


def test_overlapping_time_windows_are_merged() -> None:
    assert time_windows([at(60), at(0), at(3)]) == [(at(-2), at(5)), (at(58), at(62))]
    assert time_windows([]) == []
