"""The keys that a process remembers."""

from __future__ import annotations

import pytest

from chassis.http.idempotency import Claim, Recent, unquoted


def claim(number: int, merchant: str = "demo") -> Claim:
    return Claim(merchant, f"key-{number}", b"")


def test_the_most_recent_keys_are_remembered_and_at_most_twice_as_many() -> None:
    recent = Recent(size=10)
    for number in range(1000):
        recent.add(claim(number))
        assert all(claim(seen) in recent for seen in range(max(0, number - 9), number + 1))
    assert sum(claim(number) in recent for number in range(1000)) <= 20


def test_a_key_belongs_to_one_merchant() -> None:
    recent = Recent()
    recent.add(claim(1))
    assert claim(1) in recent
    assert claim(1, "other") not in recent


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\"b"', 'a"b'),
        (r'"a\\b"', r"a\b"),
        (r'"\\\""', r"\""),
        ('"a b"', "a b"),
        ('""', ""),
        ('a"b', 'a"b'),
        ('abc"', 'abc"'),
        ('"abc', '"abc'),
        ('"a"b"', '"a"b"'),
        (r'"abc\"', r'"abc\"'),
        (r'"a\bc"', r'"a\bc"'),
        ('"', '"'),
        ('"abc";v=1', '"abc";v=1'),
    ],
)
def test_a_quoted_string_is_the_key_that_it_holds_and_any_other_text_is_the_key_itself(header: str, key: str) -> None:
    assert unquoted(header) == key
