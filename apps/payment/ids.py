"""Ids that follow from the request that asks for them.

An operation's id is its idempotency key at the provider. It is derived from the idempotency key of the request, so the
same request has the same id even if payment's database was restored from an older copy and has forgotten the first one:
the provider then returns its first answer and does not charge again. Payments have derived ids too, because the
provider stores them with the charge and compares repeated requests.
"""

from __future__ import annotations

from enum import StrEnum

from chassis import derived_ids


class What(StrEnum):
    """What an id is for. One key has a different id for each."""

    PAYMENT = "payment"
    OPERATION = "operation"
    EXPIRY = "expiry"
    """The void of an expired authorization. Its key is the payment's id."""

    RELEASE = "release"
    """A void that a provider's records do not attribute to an operation. Its key is the payment's id."""


def derive(merchant: str, key: str, what: What) -> str:
    """Return the id that an idempotency key of a merchant stands for: always the same one."""
    # A merchant's name and a key contain no NUL, so no two inputs are the same text.
    return derived_ids.derive(key, f"tandem\0{what}\0{merchant}\0{key}".encode())


def attempt_key(order_id: str, ended: int) -> str:
    """Return the idempotency key of a payment of the sketch's API, whose requests have none.

    `ended` is the number of the order's payments that have failed or ended otherwise. It makes another attempt a new
    payment. No client can send this key: it has a space.
    """
    return f"{order_id} {ended}"
