"""Ids of commands that follow from the request that asks for them."""

from __future__ import annotations

import pytest

from chassis.http.idempotency import Claim
from order import repeated

KEY = "0198c0de-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("key", "known"),
    [(KEY, "0198c0de-0000-78a4-9652-80b2759f3c16"), ("refund-17", "23e3a27b-0420-829b-b430-0ee65bf533ce")],
)
def test_a_known_id_never_changes(key: str, known: str) -> None:
    """Payment knows these ids. A change of the derivation would capture and refund again."""
    assert repeated.refund_id(Claim("demo", key, b"content"), 300) == known


def test_another_merchant_key_or_content_is_another_command() -> None:
    claims = [
        Claim(merchant, key, content)
        for merchant in ("demo", "other")
        for key in (KEY, "refund-17")
        for content in (b"content", b"other")
    ]
    assert len({repeated.refund_id(claim, 300) for claim in claims}) == len(claims)


def test_a_refund_of_all_that_is_left_needs_no_id_of_its_request() -> None:
    assert repeated.refund_id(Claim("demo", KEY, b"content"), None) is None
