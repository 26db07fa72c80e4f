"""Delivering outbox rows: send, then commit what came of it together with the row."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chassis.messaging import leases, outbox
from chassis.messaging.leases import LeaseLoop, backoff
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Breaker, Refused, Unreachable
from chassis.postgres.database import Database, Session
from chassis.telemetry import logs, metrics, tracing

log = logs.get_logger()

Settle = Callable[[Session, Message, Any], Callable[[], None] | None]


class Relay:
    """Delivers messages to one destination, from a request's own thread or from the loop of `flask relay`.

    `send(message, timeout)` tells the destination and may raise Unreachable or Refused; `settle(session,
    message, answer)` writes what follows from the answer, in the transaction that marks the row delivered,
    and may return something to be called after the commit; without it, nothing follows. `settle_at_once` may do
    all that in one statement, and returns None when that can't be and nothing is done.
    """

    def __init__(
        self,
        database: Database,
        breaker: Breaker,
        send: Callable[[Message, float | None], Any],
        settle: Settle | None = None,
        settle_at_once: Settle | None = None,
    ) -> None:
        """Opens nothing yet."""
        self.breaker = breaker
        self._database, self._send = database, send
        self._settle, self._settle_at_once = settle, settle_at_once
        self._waker = outbox.Waker(database)

    def wake(self) -> None:
        """Tell the loops that a row has been committed."""
        self._waker.wake()

    def deliver(self, message: Message, timeout: float | None = None, settle_at_once: Settle | None = None) -> None:
        """Carry out one row that is leased to us; the caller may have a way of its own to settle it at once.

        Does not raise for what the destination does or fails to do: the row is given back and tried again.
        Raises psycopg.Error when our own database fails; the row comes back when its lease runs out.
        """
        began = time.perf_counter()
        with tracing.span(f"deliver {message.topic}", message.headers, _attributes(message)) as note:
            try:
                answer = self._send(message, timeout)
            except (Unreachable, Refused) as error:
                self._give_back(message, error)
                outcome = "unreachable" if isinstance(error, Unreachable) else "refused"
                note("error.type", outcome)
            else:
                outcome = self._commit(message, answer, settle_at_once or self._settle_at_once)
            note("tandem.outcome", outcome)
            metrics.deliveries.labels(message.topic, outcome).inc()
            took = time.perf_counter() - began
            metrics.delivery_seconds.labels(message.topic).observe(took, tracing.exemplar())

    def _commit(self, message: Message, answer: Any, settle_at_once: Settle | None) -> str:
        if self._settle is None:
            return "delivered" if outbox.mark_delivered(self._database.session(), message) else "lease_lost"
        after_commit = None
        if settle_at_once is not None:
            after_commit = settle_at_once(self._database.session(), message, answer)
        if after_commit is not None:
            after_commit()
            return "delivered"
        with self._database.transaction() as session:
            if not outbox.mark_delivered(session, message):
                # Whoever holds the lease now asks again and gets the same answer: it is theirs to apply.
                return "lease_lost"
            after_commit = self._settle(session, message, answer)
        if after_commit is not None:
            after_commit()
        return "delivered"

    def _give_back(self, message: Message, error: Exception) -> None:
        # A destination that is down is the breaker's business; only a refused row waits longer and longer.
        delay = backoff(message.attempts, cap=2.0 if isinstance(error, Unreachable) else 300.0)
        outbox.release(self._database.session(), message, delay, str(error))
        log.warning(
            "delivery_failed",
            topic=message.topic,
            aggregate_id=message.aggregate_id,
            attempts=message.attempts,
            again_in=round(delay, 2),
            error=str(error),
        )

    def loop(self, *, lease: float, concurrency: int, poll: float) -> LeaseLoop:
        """The loop that delivers whatever is due; times in seconds."""
        owner = leases.owner()

        def claim(session: Session, limit: int) -> list[Message]:
            return outbox.claim(session, owner, lease, limit)

        return LeaseLoop(
            "relay",
            self._database,
            claim,
            self.deliver,
            channel=outbox.CHANNEL,
            concurrency=concurrency,
            poll=poll,
            gate=self.breaker.room,
        )


def _attributes(message: Message) -> dict[str, str | int]:
    # Without the row's id: it is the idempotency key of what is asked for.
    return {
        "messaging.system": "postgresql",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": message.topic,
        "tandem.merchant": message.merchant,
        "tandem.aggregate_id": message.aggregate_id,
        "tandem.attempt": message.attempts,
    }
