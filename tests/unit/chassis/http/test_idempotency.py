"""What a process remembers of keys."""

from __future__ import annotations

from chassis.http.idempotency import Claim, Recent


def claim(number: int, merchant: str = "demo") -> Claim:
    return Claim(merchant, f"key-{number}", b"")


def test_the_last_keys_are_remembered_and_no_more_than_twice_as_many() -> None:
    recent = Recent(most=10)
    for number in range(1000):
        recent.add(claim(number))
        assert all(claim(seen) in recent for seen in range(max(0, number - 9), number + 1))
    assert sum(claim(number) in recent for number in range(1000)) <= 20


def test_a_key_is_one_merchants() -> None:
    recent = Recent()
    recent.add(claim(1))
    assert claim(1) in recent
    assert claim(1, "other") not in recent
