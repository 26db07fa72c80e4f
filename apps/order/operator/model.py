"""An order's journey: the records of both services as one list of steps between parties. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

Record = Mapping[str, Any]


class Party(IntEnum):
    """The parties of a journey, from left to right in the diagram."""

    MERCHANT = 0
    ORDER = 1
    PAYMENT = 2
    PROVIDER = 3
    ENDPOINT = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a journey: something sent from `sender` to `receiver`, or done within one party if they are equal.

    `ended_at` is None while the outcome is unknown, and for steps that have no duration. `state` is `done`, `waiting`
    or `failed`.
    """

    started_at: datetime
    sender: Party
    receiver: Party
    name: str
    state: str = "done"
    ended_at: datetime | None = None
    attempts: int = 0
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """The duration, or None without `ended_at`. Never negative, although clocks may differ."""
        return None if self.ended_at is None else max(0.0, (self.ended_at - self.started_at).total_seconds())


_STATEMENT_DURATION = timedelta(milliseconds=20)


def journey(events: Iterable[Step], others: Iterable[Step]) -> list[Step]:
    """Sort all steps by start time.

    Commands and deliveries are inserted in the same statement as the event that causes them, with a timestamp that
    may be slightly earlier. They are listed after that event: it is the one nearest in time.
    """
    causes = list(events)
    event_times = [cause.started_at for cause in causes]

    def after_its_event(step: Step) -> Step:
        nearest = min(event_times, key=lambda at: abs(at - step.started_at), default=step.started_at)
        moves = step.sender is Party.ORDER and timedelta(0) < nearest - step.started_at < _STATEMENT_DURATION
        return replace(step, started_at=nearest) if moves else step

    return sorted([*causes, *map(after_its_event, others)], key=lambda step: step.started_at)


def waits_for(steps: Iterable[Step]) -> Step | None:
    """Return the first step that the order waits for, or None. An order does not wait for webhooks."""
    return next((step for step in steps if step.state == "waiting" and step.receiver is not Party.ENDPOINT), None)


_FAILED = ("order.payment_failed", "payment.capture_declined", "payment.void_declined", "refund.failed")


def event_step(row: Record, data: str) -> Step:
    """Return the step for an order event: type, actor, from_status, to_status, at. `data` is its data as text."""
    sender = {"merchant": Party.MERCHANT, "payment": Party.PAYMENT}.get(row["actor"], Party.ORDER)
    before, after = row["from_status"], row["to_status"]
    change = after if before in (None, after) else f"{before} → {after}"
    state = "failed" if row["type"] in _FAILED else "done"
    return Step(row["at"], sender, Party.ORDER, row["type"], state, detail=f"{change}; {data}" if data else change)


def command_step(row: Record) -> Step:
    """Return the step for an outbox row: topic, attempts, created_at, delivered_at, last_error."""
    return Step(
        row["created_at"],
        Party.ORDER,
        Party.PAYMENT,
        row["topic"],
        "waiting" if row["delivered_at"] is None else "done",
        row["delivered_at"],
        row["attempts"],
        row["last_error"] or "",
    )


def operation_step(operation: Record) -> Step:
    """Return the step for an operation of payment's API: payment's request to the provider."""
    status, reason = operation["status"], operation["reason"]
    return Step(
        operation["created_at"],
        Party.PAYMENT,
        Party.PROVIDER,
        operation["kind"],
        {"pending": "waiting", "succeeded": "done"}.get(status, "failed"),
        operation["settled_at"],
        operation["attempts"],
        f"{status}: {reason}" if reason else status,
    )


def ledger_steps(entries: Iterable[Record], format_amount: Callable[[int, str], str]) -> list[Step]:
    """Return one step per operation for its ledger entries. `format_amount` takes minor units and a currency."""
    by_operation: dict[str, list[Record]] = {}
    for entry in entries:
        by_operation.setdefault(entry["operation_id"], []).append(entry)
    return [
        Step(
            min(entry["at"] for entry in group),
            Party.PAYMENT,
            Party.PAYMENT,
            "ledger",
            detail=", ".join(
                f"{entry['direction']} {entry['account']} {format_amount(entry['amount'], entry['currency'])}"
                for entry in sorted(group, key=lambda entry: entry["direction"], reverse=True)
            ),
        )
        for group in by_operation.values()
    ]


def delivery_step(row: Record) -> Step:
    """Return the step for a webhook delivery.

    `row` has type, url, status, attempts, created_at, settled_at, last_status_code and last_error.
    """
    state = {"pending": "waiting", "delivered": "done"}.get(row["status"], "failed")
    code = f"HTTP {row['last_status_code']}" if row["last_status_code"] else ""
    outcome = ", ".join(filter(None, [row["status"], code, row["last_error"]]))
    return Step(
        row["created_at"],
        Party.ORDER,
        Party.ENDPOINT,
        row["type"],
        state,
        row["settled_at"],
        row["attempts"],
        f"{outcome}; {row['url']}",
    )


def imbalances(accounts: Iterable[Record]) -> dict[str, int]:
    """Return debits minus credits per currency of a trial balance, in minor units. Zero means balanced."""
    sums: dict[str, int] = {}
    for account in accounts:
        sums[account["currency"]] = sums.get(account["currency"], 0) + account["debits"] - account["credits"]
    return sums
