"""Ids that follow from the request that asks for them.

An operation's id is its idempotency key at the provider. It is derived from the idempotency key of the request, so the
same request has the same id even if payment's database was restored from an older copy and has forgotten the first one:
the provider then returns its first answer and does not charge again. Payments have derived ids too, because the
provider stores them with the charge and compares repeated requests.

If the key is a UUIDv7, the id is one with the same time, which keeps the indexes local and says how old the request is.
Any other key has no known time: the id is a UUIDv8. Source: RFC 9562, sections 5.7 and 5.8.
"""

from __future__ import annotations

import hashlib
import re
import time
from enum import StrEnum
from uuid import UUID

_UUID7 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_TIME_BITS = 48
_MAX_SKEW = 60.0
"""How far a clock of another service may be ahead, in seconds. A later time in an id is not believed."""


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
    digest = int.from_bytes(hashlib.sha256(f"tandem\0{what}\0{merchant}\0{key}".encode()).digest()[:16], "big")
    version = 8
    if _UUID7.fullmatch(key):
        milliseconds = int(key[:8] + key[9:13], 16)
        digest = digest & (1 << 128 - _TIME_BITS) - 1 | milliseconds << 128 - _TIME_BITS
        version = 7
    bits = digest & ~(0xF000 << 64 | 0xC000 << 48) | version << 76 | 0x8000 << 48
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def attempt_key(order_id: str, ended: int) -> str:
    """Return the idempotency key of a payment of the sketch's API, whose requests have none.

    `ended` is the number of the order's payments that have failed or ended otherwise. It makes another attempt a new
    payment. No client can send this key: it has a space.
    """
    return f"{order_id} {ended}"


def age(operation_id: str) -> float | None:
    """Return how many seconds ago the request was made that an operation's id was derived from; None if unknown."""
    value = UUID(operation_id)
    if value.version != 7:
        return None
    seconds = time.time() - (value.int >> 128 - _TIME_BITS) / 1000
    return max(seconds, 0.0) if seconds > -_MAX_SKEW else None
