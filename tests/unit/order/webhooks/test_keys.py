from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from chassis.messaging import signatures
from order.webhooks.keys import MAX_SECRETS, KeyMissing, Keys, rotated

FIRST, SECOND = "the first key of these tests, long", "the second key of these tests, long"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("configured", [[], [FIRST]])
def test_each_new_secret_is_valid_and_different(configured: list[str]) -> None:
    keys = Keys(configured)
    first, second = keys.new("key"), keys.new("key")
    assert signatures.is_secret(keys.secret(first))
    assert keys.secret(first) == keys.secret(json.loads(json.dumps(first))) != keys.secret(second)


def test_with_a_key_the_database_alone_is_not_enough_to_sign() -> None:
    stored = Keys([FIRST]).new("key")
    secret = Keys([FIRST]).secret(stored)
    assert secret.removeprefix("whsec_") not in json.dumps(stored)
    assert FIRST not in json.dumps(stored)
    with pytest.raises(KeyMissing):
        Keys([SECOND]).secret(stored)
    with pytest.raises(KeyMissing):
        Keys([]).secret(stored)


def test_new_secrets_use_the_first_key_and_old_secrets_keep_theirs() -> None:
    before = Keys([FIRST])
    stored = before.new("key")
    both = Keys([SECOND, FIRST])
    assert both.secret(stored) == before.secret(stored)
    assert both.new("key")["key"] == Keys([SECOND]).new("key")["key"]
    plain = Keys([]).new("key")
    assert both.secret(plain) == Keys([]).secret(plain)


def test_the_old_secret_signs_until_its_end_and_the_new_one_comes_first() -> None:
    keys = Keys([])
    old, new = keys.new("key"), keys.new("key")
    until = NOW + timedelta(hours=1)
    both = rotated([old], new, until, NOW)
    assert keys.signing_secrets(both, NOW) == [keys.secret(new), keys.secret(old)]
    assert keys.signing_secrets(both, until) == [keys.secret(new)]
    assert rotated([old], new, NOW, NOW) == [new]


def test_rotating_again_keeps_the_earlier_ends_and_at_most_five_secrets() -> None:
    keys = Keys([])
    stored = [keys.new("key")]
    for hour in range(10):
        stored = rotated(stored, keys.new("key"), NOW + timedelta(hours=hour + 1), NOW)
    assert len(stored) == MAX_SECRETS
    assert [each["until"] for each in stored] == [
        None,
        *((NOW + timedelta(hours=hours)).isoformat() for hours in (10, 9, 8, 7)),
    ]
