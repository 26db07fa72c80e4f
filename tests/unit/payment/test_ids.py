"""Ids that follow from the idempotency key of the request that asks for them."""

from __future__ import annotations

import time
import uuid
from itertools import combinations

import pytest
import uuid_utils

from chassis import derived_ids
from payment import ids
from payment.ids import What

KEYS = [
    "019a0000-4df4-735b-add1-0a1fb867b32c",
    "0ab35467-4021-4eb3-856e-47d74095c6b0",
    "0e865a5e-eb4c-11f1-a43f-02fc00000001",
    "x",
    "!" * 255,
    "0198c0de",
]
"""A UUIDv7, a UUIDv4, a UUIDv1, and keys that are no UUIDs."""


@pytest.mark.parametrize("key", KEYS)
def test_the_same_request_always_has_the_same_id(key: str) -> None:
    for what in What:
        assert ids.derive("demo", key, what) == ids.derive("demo", key, what)


def test_merchants_keys_and_purposes_have_different_ids() -> None:
    asked = [(merchant, key, what) for merchant in ("demo", "other") for key in KEYS for what in What]
    derived = {one: ids.derive(*one) for one in asked}
    for one, other in combinations(asked, 2):
        assert derived[one] != derived[other], (one, other)


def test_a_known_id_never_changes() -> None:
    """The provider knows these ids. A change of the derivation would charge customers again."""
    key = "0198c0de-0000-7000-8000-000000000001"
    assert ids.derive("demo", key, What.PAYMENT) == "0198c0de-0000-7326-8de7-07d4418d5128"
    assert ids.derive("demo", key, What.OPERATION) == "0198c0de-0000-735b-80e2-6ba04aa380cd"
    assert ids.derive("demo", "order-17", What.OPERATION) == "0cf13445-c623-8dc1-bdf0-ccf49fb2217f"


def test_an_id_keeps_the_time_of_a_uuid_version_7() -> None:
    key = uuid_utils.uuid7()
    derived = uuid.UUID(ids.derive("demo", str(key), What.OPERATION))
    assert (derived.int >> 80, derived.version, derived.variant) == (key.int >> 80, 7, uuid.RFC_4122)
    age = derived_ids.age(str(derived))
    assert age is not None
    assert 0 <= age < 60


@pytest.mark.parametrize("key", KEYS[1:])
def test_an_id_of_any_other_key_has_no_time(key: str) -> None:
    derived = uuid.UUID(ids.derive("demo", key, What.OPERATION))
    assert (derived.version, derived.variant) == (8, uuid.RFC_4122)
    assert derived_ids.age(str(derived)) is None


def at(seconds: float) -> str:
    return str(uuid.UUID(int=int((time.time() + seconds) * 1000) << 80 | 7 << 76 | 2 << 62))


def test_a_time_in_the_future_is_not_believed() -> None:
    """A client could otherwise make an old request look new."""
    assert derived_ids.age(at(3600)) is None
    assert derived_ids.age(at(5)) == 0
    old = derived_ids.age(at(-86400))
    assert old is not None
    assert 86300 < old < 86500


def test_each_attempt_of_the_original_api_is_another_payment() -> None:
    order_id = str(uuid.uuid4())
    made = {ids.derive("demo", ids.attempt_key(order_id, ended), What.PAYMENT) for ended in range(5)}
    assert len(made) == 5
