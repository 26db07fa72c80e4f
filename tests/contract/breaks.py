"""Ways in which payment could break its contracts with order: what it says, renamed or of another type."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from payment import operations, store


@dataclass(frozen=True)
class Break:
    """Replaces a text in all SQL of payment."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return self.name

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Break it until the test ends."""
        statements = [
            (module, name, value)
            for module in (store, operations)
            for name, value in vars(module).items()
            if isinstance(value, str) and self.old in value
        ]
        assert statements, f"no statement contains {self.old}"
        for module, name, value in statements:
            monkeypatch.setattr(module, name, value.replace(self.old, self.new))


BREAKS = [
    Break("captured_amount has another name", "'captured_amount', p.captured_amount", "'captured', p.captured_amount"),
    Break("version is a string", "'version', p.version", "'version', p.version::text"),
    Break("amount is in major units", "'amount', p.amount", "'amount', p.amount / 100.0"),
    Break("status has other words", "'status', p.status", "'status', upper(p.status)"),
    Break("failure_reason is gone", "'failure_reason', p.failure_reason,", ""),
]
"""Breaks of a payment, in answers and in events alike."""

EVENT_BREAKS = [
    Break("idempotency_key has another name", "'idempotency_key', settled", "'key', settled"),
    Break("type has another word", "'type', 'payment.updated'", "'type', 'payment.changed'"),
    Break("merchant is gone", "'merchant', p.merchant,\n        'data'", "'data'"),
]
"""Breaks of what only events say."""
