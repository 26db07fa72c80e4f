"""Delivering outbox rows: send, then commit what came of it together with the row."""

from __future__ import annotations

import time
from collections.abc import Callable

from chassis.messaging import leases, outbox
from chassis.messaging.leases import LeaseLoop, backoff
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Breaker, Refused, Unreachable
from chassis.postgres.database import Database, Session
from chassis.telemetry import logs, metrics, tracing

log = logs.get_logger()

Handle = Callable[[Message, float | None], str]
"""Sends a message within so many seconds, commits what follows, and returns `delivered` or `lease_lost`.

May raise Unreachable or Refused.
"""


class Relay:
    """Delivers messages to one destination, from a request's own thread or from the loop of `flask relay`."""

    def __init__(self, database: Database, breaker: Breaker, handle: Handle) -> None:
        self.breaker = breaker
        self._database, self._handle = database, handle
        self._waker = outbox.Waker(database)

    def wake(self) -> None:
        """Tell the loops that a row has been committed."""
        self._waker.wake()

    def deliver(self, message: Message, timeout: float | None = None, handle: Handle | None = None) -> None:
        """Deliver one message that is leased to us; `handle` replaces the relay's own for this once.

        What the destination does is never raised: the message is released and tried again. Raises psycopg.Error if our
        own database fails; the message is claimed again after its lease expires.
        """
        began = time.perf_counter()
        with tracing.span(f"deliver {message.topic}", message.headers, _attributes(message)) as note:
            try:
                outcome = (handle or self._handle)(message, timeout)
            except (Unreachable, Refused) as error:
                self._give_back(message, error)
                outcome = "unreachable" if isinstance(error, Unreachable) else "refused"
                note("error.type", outcome)
            note("tandem.outcome", outcome)
            metrics.deliveries.labels(message.topic, outcome).inc()
            took = time.perf_counter() - began
            metrics.delivery_seconds.labels(message.topic).observe(took, tracing.exemplar())

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
