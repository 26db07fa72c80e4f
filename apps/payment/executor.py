"""Carrying out operations: ask the provider, then commit the outcome and what follows from it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from chassis.messaging.leases import Share, backoff
from chassis.postgres.database import Database, Row, Session
from chassis.telemetry import logs, tracing
from chassis.telemetry.metrics import count_transition
from payment import metrics, model, operations, settlements
from payment.model import Kind, Operation, Outcome, Result, Status
from payment.providers import Provider, ProviderFault, checked, may_have_forgotten, require_provider
from payment.settlements import Settled

log = logs.get_logger()

_Labels: TypeAlias = tuple[str, ...]


class Executor:
    """Carries out operations at one provider, from a request's thread or from the loop of `flask relay`."""

    def __init__(self, database: Database, provider: Provider, lease: float, wake: Callable[[], None]) -> None:
        """`lease` is for how many seconds a claim leases an operation; `wake` notifies the relay of a new event."""
        self._database, self._provider, self._lease, self._wake = database, provider, lease, wake

    def claim(self, session: Session, limit: int, share: Share | None = None) -> list[Operation]:
        """Lease up to `limit` due operations without a known outcome, of each merchant as many as `share` allows."""
        return operations.claim(session, self._lease, limit, share)

    def execute(self, operation: Operation, *, answered: bool = False) -> Row | None:
        """Carry out an operation that is leased to the caller. Returns the payment's view if that settled it.

        An operation that was attempted before is looked up first, and so is one whose request is older than the
        provider's memory of keys. If the provider does not know it, it is sent (again) under the same id. An unknown
        outcome is neither success nor failure: the operation is released, and the executor's loop claims it again after
        a delay.

        `answered` is true if the caller tells the order service the outcome. Then there is an event of it only in the
        cases that `Settled` names.
        """
        with logs.request_context(operation.headers):
            if self._is_late(operation):
                return None
            return self._settle({operation.id: (operation, self._ask(operation))}, answered).get(operation.id)

    def execute_many(self, each: Sequence[Operation]) -> dict[str, Row]:
        """Carry out new operations whose outcomes the caller tells the order service.

        Returns the views of the payments that are settled, by operation id. What the provider does not answer together
        with others is left to the executor's loop.
        """
        new = [op for op in each if not self._is_late(op) and not may_have_forgotten(self._provider, op)]
        outcomes = self._ask_many(new) if new else {}
        left = [operation for operation in each if operation.id not in outcomes]
        for operation in left:
            operations.release(self._database.session(), operation, 0, "left to the executor")
        return self._settle({op.id: (op, outcomes[op.id]) for op in new if op.id in outcomes}, answered=True)

    def _is_late(self, operation: Operation) -> bool:
        """Return whether the lease has expired.

        This process was suspended, or the operation waited too long for a thread. The next worker to claim it looks it
        up first, because the provider may have forgotten the idempotency key.
        """
        late = time.monotonic() >= operation.expires
        if late:
            log.warning("lease_lost", operation_id=operation.id)
        return late

    def _ask_many(self, each: Sequence[Operation]) -> dict[str, Outcome]:
        name = self._provider.name
        spans = (
            (f"provider {operation.kind}", operation.headers or {}, _attributes(operation, name)) for operation in each
        )
        began = time.perf_counter()
        with tracing.spans(spans, calls=True) as set_attributes:
            outcomes = {key: checked(outcome) for key, outcome in self._provider.send_many(each).items()}
            took = time.perf_counter() - began
            for operation, set_attribute in zip(each, set_attributes, strict=True):
                outcome = outcomes.get(operation.id)
                set_attribute("tandem.outcome", outcome.result if outcome is not None else "not sent")
                if outcome is not None:
                    metrics.provider_seconds.labels(operation.kind, outcome.result).observe(took)
        return outcomes

    def _ask(self, operation: Operation) -> Outcome:
        attributes = _attributes(operation, self._provider.name)
        with tracing.span(f"provider {operation.kind}", operation.headers, attributes, calls=True) as set_attribute:
            began = time.perf_counter()
            try:
                require_provider(operation, self._provider)
                look = operation.attempts > 1 or may_have_forgotten(self._provider, operation)
                outcome = self._provider.lookup(operation) if look else None
                outcome = outcome or self._provider.send(operation)
            except ProviderFault as error:
                outcome = Outcome(Result.UNKNOWN, reason=str(error))
                set_attribute("error.type", "unknown")
            outcome = checked(outcome)
            set_attribute("tandem.outcome", outcome.result)
            took = time.perf_counter() - began
            metrics.provider_seconds.labels(operation.kind, outcome.result).observe(took, tracing.exemplar())
        return outcome

    def _settle(self, asked: dict[str, tuple[Operation, Outcome]], answered: bool) -> dict[str, Row]:
        """Commit the outcomes that are known, and release the other operations. Returns views by operation id."""
        known: list[Settled] = []
        for operation, outcome in asked.values():
            if outcome.result is Result.UNKNOWN:
                self._release(operation, outcome)
                continue
            settlement = model.settle(operation, outcome)
            known.append(Settled(operation, outcome, settlement, answered))
        rows = settlements.settle(self._database.session(), known) if known else {}
        if rows and not answered:  # the events of answered ones are rare, and follow others: polling finds them
            self._wake()
        count_settled([settled for settled in known if settled.operation.id in rows])
        for settled in known:
            if settled.operation.id not in rows:
                log.warning("lease_lost", operation_id=settled.operation.id)
        return rows

    def _release(self, operation: Operation, outcome: Outcome) -> None:
        delay = backoff(operation.attempts)
        operations.release(self._database.session(), operation, delay, outcome.reason or "unknown")
        log.warning(
            "outcome_unknown",
            operation_id=operation.id,
            payment_id=operation.payment_id,
            attempts=operation.attempts,
            again_in=round(delay, 2),
            reason=outcome.reason,
        )


def _attributes(operation: Operation, provider: str) -> dict[str, str | int]:
    # Without the operation's id: it is the idempotency key at the provider.
    return {
        "tandem.provider": provider,
        "tandem.merchant": operation.merchant,
        "tandem.payment_id": operation.payment_id,
        "tandem.attempt": operation.attempts,
    }


def count_settled(each: Iterable[Settled]) -> None:
    """Count settled operations, their money and their payments' transitions in the metrics.

    The numbers are summed first, so that each counter is looked up and increased once.
    """
    done, entries, moved, changed = Counter[_Labels](), Counter[_Labels](), Counter[_Labels](), Counter[_Labels]()
    for settled in each:
        operation, settlement = settled.operation, settled.settlement
        done[operation.kind, settled.outcome.result] += 1
        for entry in settlement.entries:
            entries[entry.account, entry.direction, operation.currency] += entry.amount
            if entry.account == "merchant_payable":
                moved[operation.kind, operation.currency] += entry.amount
        if settlement.status is not None:
            before = Status.PROCESSING if operation.kind in (Kind.SALE, Kind.AUTHORIZE) else Status.AUTHORIZED
            changed[before, settlement.status] += 1
    for counter, sums in ((metrics.operations, done), (metrics.ledger, entries), (metrics.money, moved)):
        for labels, total in sums.items():
            counter.labels(*labels).inc(total)
    for (old, new), number in changed.items():
        count_transition("payment", old, new, number)
