"""Ids that follow from the idempotency key of a request, so that the same request always has the same id.

A service whose database was restored from an older copy has forgotten requests. A repeated request gets the id that it
had before, so the receiver of that id returns the first result. Receivers keep the ids, so the derivation can never
change.

If the key is a UUIDv7, the id is one with the same time, which keeps the indexes local and says how old the request is.
Any other key has no known time: the id is a UUIDv8. Source: RFC 9562, sections 5.7 and 5.8.
"""

from __future__ import annotations

import hashlib
import re
import time
from uuid import UUID

_UUID7 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_TIME_BITS = 48
_MAX_SKEW = 60.0
"""How far a clock of another service may be ahead, in seconds. A later time in an id is not believed."""


def derive(key: str, meaning: bytes) -> str:
    """Return the id that `meaning` stands for, with the time of the key if that is a UUIDv7."""
    digest = int.from_bytes(hashlib.sha256(meaning).digest()[:16], "big")
    version = 8
    if _UUID7.fullmatch(key):
        milliseconds = int(key[:8] + key[9:13], 16)
        digest = digest & (1 << 128 - _TIME_BITS) - 1 | milliseconds << 128 - _TIME_BITS
        version = 7
    bits = digest & ~(0xF000 << 64 | 0xC000 << 48) | version << 76 | 0x8000 << 48
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def age(derived_id: str) -> float | None:
    """Return how many seconds ago the request was made that an id was derived from; None if unknown."""
    value = UUID(derived_id)
    if value.version != 7:
        return None
    seconds = time.time() - (value.int >> 128 - _TIME_BITS) / 1000
    return max(seconds, 0.0) if seconds > -_MAX_SKEW else None
