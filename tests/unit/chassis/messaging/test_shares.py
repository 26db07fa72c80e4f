"""How batches are divided among merchants, and what of a loop one merchant may occupy."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from chassis.messaging import shares
from chassis.messaging.shares import Shares


@dataclass(frozen=True)
class Row:
    merchant: str
    number: int = 0


def rows(merchant: str, count: int) -> list[Row]:
    return [Row(merchant, number) for number in range(count)]


def test_a_merchant_with_many_messages_has_batches_of_its_own() -> None:
    batches = shares.divide([*rows("many", 130), *rows("one", 1), *rows("two", 2)], {}, 64)
    assert [(len(batch), {row.merchant for row in batch}) for batch in batches] == [
        (64, {"many"}),
        (64, {"many"}),
        (2, {"many"}),
        (3, {"one", "two"}),
    ]
    assert [row.number for batch in batches[:3] for row in batch] == list(range(130))


def test_a_merchant_without_anything_in_flight_never_shares_a_batch_with_one_that_has() -> None:
    batches = shares.divide([Row("busy"), Row("idle"), Row("slow"), Row("new")], {"busy": 1, "slow": 2}, 64)
    assert [{row.merchant for row in batch} for batch in batches] == [{"busy", "slow"}, {"idle", "new"}]


def test_no_message_is_lost_and_no_batch_is_too_large() -> None:
    messages = [Row(f"m{number % 40}", number) for number in range(1000)]
    batches = shares.divide(messages, {"m1": 1}, 64)
    assert sorted(row.number for batch in batches for row in batch) == list(range(1000))
    assert max(map(len, batches)) <= 64
    assert shares.divide([], {}, 64) == []


@pytest.mark.parametrize(("threads", "most"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6)])
def test_a_merchant_never_occupies_all_of_several_threads(threads: int, most: int) -> None:
    assert shares.most(threads) == most


def test_rows_count_from_the_claim_to_the_end_of_the_work_also_if_it_fails() -> None:
    counted = Shares(2)
    claim = counted.claiming(lambda session, limit, _: rows("a", limit))

    def fail(row: Row) -> None:
        raise ValueError("failed")

    claimed = claim(None, 2)  # type: ignore[arg-type]
    assert counted.share().in_flight == {"a": 2}
    with pytest.raises(ValueError, match="failed"):
        counted.working(fail)(claimed[0])
    counted.working(lambda row: None)(claimed[1])
    assert counted.share().in_flight == {}


def test_a_merchant_gets_its_next_unit_when_the_last_one_has_ended_or_waits_for_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    working = Shares(3, patience=0.1)

    def room(merchant: str) -> int:
        share = working.share(64)
        return share.limit - share.in_flight.get(merchant, 0)

    assert room("a") == 64, "one batch, although three may be in flight"
    working.begin(["a"])
    assert (room("a"), room("b")) == (0, 64)
    working.end(["a"])
    assert room("a") == 64
    for _ in range(3):
        working.begin(["a"])
        assert room("a") == 0
        now[0] += 0.2
    assert room("a") == 0, "three are in flight, however long they take"
    working.end(["a"])
    assert room("a") == 64
