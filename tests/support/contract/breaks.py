"""Ways in which payment could break its contracts with order: members renamed, removed or of another type."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from payment import operations, settlements, store


@dataclass(frozen=True)
class Break:
    """A change that replaces a text in all of payment's SQL statements."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return self.name

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Apply the change until the test ends."""
        statements = [
            (module, name, text)
            for module in (store, operations, settlements)
            for name, text in vars(module).items()
            if isinstance(text, str) and self.old in text
        ]
        assert statements, f"no statement contains {self.old}"
        for module, name, text in statements:
            monkeypatch.setattr(module, name, text.replace(self.old, self.new))


BREAKS = [
    Break("captured_amount has another name", "'captured_amount', p.captured_amount", "'captured', p.captured_amount"),
    Break("version is a string", "'version', p.version", "'version', p.version::text"),
    Break("amount is in major units", "'amount', p.amount", "'amount', p.amount / 100.0"),
    Break("status has other values", "'status', p.status", "'status', upper(p.status)"),
    Break("failure_reason is missing", "'failure_reason', p.failure_reason,", ""),
]
"""Changes of a payment, in responses and in events."""

EVENT_BREAKS = [
    Break("idempotency_key has another name", "'idempotency_key', settled", "'key', settled"),
    Break("type has another value", "'type', 'payment.updated'", "'type', 'payment.changed'"),
    Break("merchant is missing", "'merchant', p.merchant,\n        'data'", "'data'"),
]
"""Changes of members that only events have."""
