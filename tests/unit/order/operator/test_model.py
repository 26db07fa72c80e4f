"""The order of a journey's steps, what it waits for, and whether a ledger balances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from order.operator import model
from order.operator.model import Party, Step
from order.operator.store import windows

BEGIN = datetime(2030, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_what_commits_with_an_event_follows_it_and_not_the_next_one() -> None:
    placed = Step(at(0.0001), Party.MERCHANT, Party.ORDER, "order.placed")
    paid = Step(at(0.010), Party.PAYMENT, Party.ORDER, "order.paid")
    command = Step(at(0), Party.ORDER, Party.PAYMENT, "payment.create")
    sale = Step(at(0.005), Party.PAYMENT, Party.PROVIDER, "sale")
    webhook = Step(at(0.0099), Party.ORDER, Party.ENDPOINT, "order.paid")
    steps = model.journey([placed, paid], [webhook, sale, command])
    assert [step.what for step in steps] == ["order.placed", "payment.create", "sale", "order.paid", "order.paid"]
    assert steps[-1].receiver is Party.ENDPOINT
    assert steps[2].at == sale.at


def test_an_order_waits_for_what_has_no_outcome_but_for_no_webhook() -> None:
    told = Step(at(0), Party.ORDER, Party.ENDPOINT, "order.placed", "waiting")
    asked = Step(at(1), Party.PAYMENT, Party.PROVIDER, "sale", "waiting", attempts=3)
    assert model.waits_for([told, asked]) is asked
    assert model.waits_for([told]) is None


def test_how_long_a_step_took_is_known_once_it_is_over_and_never_negative() -> None:
    assert Step(at(0), Party.ORDER, Party.PAYMENT, "x").seconds is None
    assert Step(at(0), Party.ORDER, Party.PAYMENT, "x", until=at(2)).seconds == 2
    assert Step(at(1), Party.ORDER, Party.PAYMENT, "x", until=at(0)).seconds == 0


def test_a_ledger_balances_currency_by_currency() -> None:
    accounts = [
        {"account": "a", "currency": "EUR", "debits": 5, "credits": 1},
        {"account": "b", "currency": "EUR", "debits": 0, "credits": 4},
        {"account": "a", "currency": "JPY", "debits": 4, "credits": 0},
    ]
    assert model.imbalances(accounts) == {"EUR": 0, "JPY": 4}


def test_times_around_moments_are_joined_where_they_meet() -> None:
    assert windows([at(60), at(0), at(3)]) == [(at(-2), at(5)), (at(58), at(62))]
    assert windows([]) == []
