"""Counts of what each caller has under way."""

from __future__ import annotations

from collections import Counter


def subtract(counts: Counter[str], caller: str) -> None:
    """Subtract one from a caller's count. A count of 0 is deleted, so callers that have left take no memory."""
    counts[caller] -= 1
    if not counts[caller]:
        del counts[caller]
