"""An order's journey: what both services know of it as one list of steps from one party to another. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

Facts = Mapping[str, Any]


class Party(IntEnum):
    """Who takes part, from left to right."""

    MERCHANT = 0
    ORDER = 1
    PAYMENT = 2
    PROVIDER = 3
    ENDPOINT = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that went from one party to another, or happened within one (`sender` is `receiver`).

    `at` is when it began and `until` when its outcome was known (None: not yet, or there is none to wait for).
    `state` is `done`, `waiting` or `failed`.
    """

    at: datetime
    sender: Party
    receiver: Party
    what: str
    state: str = "done"
    until: datetime | None = None
    attempts: int = 0
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took, once it is over."""
        return None if self.until is None else max(0.0, (self.until - self.at).total_seconds())


_ONE_STATEMENT = timedelta(milliseconds=20)


def journey(events: Iterable[Step], others: Iterable[Step]) -> list[Step]:
    """All steps in the order in which they began.

    What commits with an event, in one statement and so at nearly the same time, follows it.
    """
    causes = list(events)
    moments = [cause.at for cause in causes]

    def follow(step: Step) -> Step:
        with_it = [moment for moment in moments if timedelta(0) < moment - step.at < _ONE_STATEMENT]
        return replace(step, at=min(with_it)) if with_it and step.sender is Party.ORDER else step

    return sorted([*causes, *map(follow, others)], key=lambda step: step.at)


def waits_for(steps: Iterable[Step]) -> Step | None:
    """The first step without an outcome of those that an order waits for: for no webhook, that is."""
    return next((step for step in steps if step.state == "waiting" and step.receiver is not Party.ENDPOINT), None)


_FAILED = ("order.payment_failed", "refund.failed")


def event(row: Facts, said: str) -> Step:
    """A step of the order's history: type, actor, from_status, to_status, at; `said` is the rest in words."""
    sender = {"merchant": Party.MERCHANT, "payment": Party.PAYMENT}.get(row["actor"], Party.ORDER)
    change = row["to_status"] if row["from_status"] == row["to_status"] or row["from_status"] is None else ""
    change = change or f"{row['from_status']} → {row['to_status']}"
    state = "failed" if row["type"] in _FAILED else "done"
    return Step(row["at"], sender, Party.ORDER, row["type"], state, detail=f"{change}; {said}" if said else change)


def command(row: Facts) -> Step:
    """What the outbox carries to payment: topic, attempts, created_at, delivered_at, last_error."""
    over = row["delivered_at"] is not None
    return Step(
        row["created_at"],
        Party.ORDER,
        Party.PAYMENT,
        row["topic"],
        "done" if over else "waiting",
        row["delivered_at"],
        row["attempts"],
        row["last_error"] or "",
    )


def operation(fields: Facts) -> Step:
    """What payment asked of the provider, as its API says."""
    status, reason = fields["status"], fields["reason"]
    return Step(
        fields["created_at"],
        Party.PAYMENT,
        Party.PROVIDER,
        fields["kind"],
        {"pending": "waiting", "succeeded": "done"}.get(status, "failed"),
        fields["settled_at"],
        fields["attempts"],
        f"{status}: {reason}" if reason else status,
    )


def booking(entries: Iterable[Facts], shown: Callable[[int, str], str]) -> list[Step]:
    """The ledger's entries, one step for each operation; `shown` says amounts as people read them."""
    found: dict[str, list[Facts]] = {}
    for entry in entries:
        found.setdefault(entry["operation_id"], []).append(entry)
    return [
        Step(
            min(entry["at"] for entry in together),
            Party.PAYMENT,
            Party.PAYMENT,
            "ledger",
            detail=", ".join(
                f"{entry['direction']} {entry['account']} {shown(entry['amount'], entry['currency'])}"
                for entry in sorted(together, key=lambda entry: entry["direction"], reverse=True)
            ),
        )
        for together in found.values()
    ]


def delivery(row: Facts) -> Step:
    """What an endpoint is told: type, url, status, attempts, created_at, settled_at, last_status_code, last_error."""
    state = {"pending": "waiting", "delivered": "done"}.get(row["status"], "failed")
    code = f"HTTP {row['last_status_code']}" if row["last_status_code"] else ""
    said = ", ".join(filter(None, [row["status"], code, row["last_error"]]))
    return Step(
        row["created_at"],
        Party.ORDER,
        Party.ENDPOINT,
        row["type"],
        state,
        row["settled_at"],
        row["attempts"],
        f"{said}; {row['url']}",
    )


def imbalances(accounts: Iterable[Facts]) -> dict[str, int]:
    """By how much debits and credits of a trial balance differ, by currency: all zero, or a mistake was made."""
    sums: dict[str, int] = {}
    for account in accounts:
        sums[account["currency"]] = sums.get(account["currency"], 0) + account["debits"] - account["credits"]
    return sums
