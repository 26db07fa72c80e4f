"""Delivering outbox rows: send the message, then commit what follows from the answer together with the row."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chassis.messaging import outbox
from chassis.messaging.leases import backoff
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Breaker, Refused, Unreachable
from chassis.messaging.work import Waker, WorkLoop
from chassis.postgres.database import Database, Session
from chassis.telemetry import logs, metrics, tracing

log = logs.get_logger()

Settle = Callable[[Session, Message, Any], Callable[[], None] | None]


class Relay:
    """Delivers messages to one destination, from a request's thread or from the loop of `flask relay`.

    `send(message, timeout)` sends a message and returns the answer. It may raise Unreachable or Refused.

    `settle(session, message, answer)` writes what follows from the answer, in the transaction that marks the row
    delivered. It may return a function to call after the commit. Without `settle`, nothing follows.

    `settle_at_once` may do the same in a single statement that also marks the row delivered. It returns None if that
    is not possible; then it has written nothing, and `settle` is used.
    """

    def __init__(
        self,
        database: Database,
        breaker: Breaker,
        send: Callable[[Message, float | None], Any],
        settle: Settle | None = None,
        settle_at_once: Settle | None = None,
    ) -> None:
        self.breaker = breaker
        self._database, self._send = database, send
        self._settle, self._settle_at_once = settle, settle_at_once
        self._waker = Waker(database, outbox.CHANNEL)

    def wake(self) -> None:
        """Notify the loops that a row has been committed."""
        self._waker.wake()

    def deliver(self, message: Message, timeout: float | None = None, settle_at_once: Settle | None = None) -> None:
        """Deliver one row that is leased to the caller; `settle_at_once` replaces the relay's own.

        If the destination fails or refuses, the row is released for a later attempt and nothing is raised.
        Raises psycopg.Error when this service's database fails; another relay claims the row after the lease expires.
        """
        began = time.perf_counter()
        with tracing.work(f"deliver {message.topic}", message.headers, _attributes(message)) as note:
            try:
                answer = self._send(message, timeout)
            except (Unreachable, Refused) as error:
                self._release(message, error)
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
                # The worker that holds the lease now sends the message again, gets the same answer and applies it.
                return "lease_lost"
            after_commit = self._settle(session, message, answer)
        if after_commit is not None:
            after_commit()
        return "delivered"

    def _release(self, message: Message, error: Exception) -> None:
        # The breaker already holds back calls to a destination that is down; only refused rows wait longer each time.
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

    def loop(self, *, lease: float, concurrency: int, poll: float) -> WorkLoop:
        """The loop that delivers due rows; `lease` and `poll` are in seconds."""

        def claim(session: Session, limit: int) -> list[Message]:
            return outbox.claim(session, lease, limit)

        return WorkLoop(
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
    # Without the row's id: it is the idempotency key of the request.
    return {
        "messaging.system": "postgresql",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": message.topic,
        "tandem.merchant": message.merchant,
        "tandem.aggregate_id": message.aggregate_id,
        "tandem.attempt": message.attempts,
    }
