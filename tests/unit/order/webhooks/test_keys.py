from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from chassis.messaging import signatures
from order.webhooks.keys import MAX_SECRETS, KeyMissing, Keys, rotated

FIRST, SECOND = "the first key of these tests, long", "the second key of these tests, long"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("keys", [[], [FIRST]])
def test_a_secret_can_sign_and_is_its_own(keys: list[str]) -> None:
    vault = Keys(keys)
    first, second = vault.new(), vault.new()
    assert signatures.is_secret(vault.secret(first))
    assert vault.secret(first) == vault.secret(json.loads(json.dumps(first))) != vault.secret(second)


def test_with_a_key_the_database_alone_can_not_sign() -> None:
    stored = Keys([FIRST]).new()
    secret = Keys([FIRST]).secret(stored)
    assert secret.removeprefix("whsec_") not in json.dumps(stored)
    assert FIRST not in json.dumps(stored)
    with pytest.raises(KeyMissing):
        Keys([SECOND]).secret(stored)
    with pytest.raises(KeyMissing):
        Keys([]).secret(stored)


def test_a_new_key_makes_new_secrets_and_the_old_one_still_derives_the_old() -> None:
    before = Keys([FIRST])
    stored = before.new()
    both = Keys([SECOND, FIRST])
    assert both.secret(stored) == before.secret(stored)
    assert both.new()["key"] == Keys([SECOND]).new()["key"]
    plain = Keys([]).new()
    assert both.secret(plain) == Keys([]).secret(plain)


def test_the_old_secret_signs_until_its_end_and_the_new_one_is_first() -> None:
    vault = Keys([])
    old, new = vault.new(), vault.new()
    until = NOW + timedelta(hours=1)
    both = rotated([old], new, until, NOW)
    assert vault.signing_secrets(both, NOW) == [vault.secret(new), vault.secret(old)]
    assert vault.signing_secrets(both, until) == [vault.secret(new)]
    assert rotated([old], new, NOW, NOW) == [new]


def test_rotating_again_keeps_the_ends_that_were_set_and_a_bounded_number() -> None:
    vault = Keys([])
    stored = [vault.new()]
    for hour in range(10):
        stored = rotated(stored, vault.new(), NOW + timedelta(hours=hour + 1), NOW)
    assert len(stored) == MAX_SECRETS
    assert [each["until"] for each in stored] == [
        None,
        *((NOW + timedelta(hours=hours)).isoformat() for hours in (10, 9, 8, 7)),
    ]
