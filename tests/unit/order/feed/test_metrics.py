"""How long a running transaction has delayed the feed."""

from __future__ import annotations

from order.feed.metrics import Delay


def test_a_transaction_that_runs_on_delays_the_feed_for_longer_and_longer() -> None:
    delay = Delay()
    assert delay.measure(10, 20, 100.0) == 0.0
    assert delay.measure(10, 30, 115.0) == 15.0
    assert delay.measure(10, 40, 130.0) == 30.0


def test_when_it_has_ended_the_next_one_counts_from_when_it_was_seen_first() -> None:
    delay = Delay()
    delay.measure(10, 20, 100.0)
    delay.measure(10, 30, 200.0)
    assert delay.measure(25, 40, 210.0) == 10.0, "it began after the first call and before the second"
    assert delay.measure(45, 50, 220.0) == 0.0


def test_nothing_delays_the_feed_while_no_transaction_runs() -> None:
    delay = Delay()
    assert [delay.measure(20, 20, at) for at in (100.0, 1000.0, 9000.0)] == [0.0, 0.0, 0.0]


def test_short_transactions_delay_nothing() -> None:
    delay = Delay()
    assert [delay.measure(at * 100, at * 100 + 5, float(at)) for at in range(10)] == [0.0] * 10
