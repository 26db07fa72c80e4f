"""Delivering outbox rows: send the message, then commit what follows from the answer together with the row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from chassis.messaging import outbox, shares
from chassis.messaging.leases import MAX_BACKOFF, backoff
from chassis.messaging.outbox import Message
from chassis.messaging.pace import Pace
from chassis.messaging.remote import Breaker, Refused, Unreachable
from chassis.messaging.shares import Shares
from chassis.messaging.work import Waker, WorkLoop
from chassis.postgres.database import UNAVAILABLE, Database, Session
from chassis.telemetry import logs, metrics, tracing

log = logs.get_logger()

Handle = Callable[[Message, float | None], str]
"""Sends a message, commits what follows from the answer, and returns `delivered` or `lease_lost`.

The second argument is the timeout in seconds; None is the destination's own. Raises Unreachable or Refused.
"""

HandleMany = Callable[[Sequence[Message]], Mapping[str, Unreachable | Refused]]
"""Sends messages together, and commits what follows from the answers. Returns the failures of some, by message id.

Raises Unreachable or Refused if all of them have failed.
"""

BATCH = 64
"""How many messages are sent together at most."""

BATCH_THREADS = 4
"""How many batches a loop sends at the same time. A merchant may have all but one of them in flight."""

PATIENCE = 0.1
"""A merchant's next batch is sent when the last one has ended, or has taken longer, in seconds: then it waits for the
provider. One at a time, batches take one processor at most, and leave the rest to callers."""


_OF_THE_CALLER = frozenset({"unauthorized", "forbidden"})
"""The problems for which a batch is refused whatever is in it."""


class Relay:
    """Delivers messages to one destination, from a request's own thread or from the loop of `flask relay`."""

    def __init__(
        self, database: Database, breaker: Breaker, handle: Handle, handle_many: HandleMany | None = None
    ) -> None:
        """With `handle_many`, the loop delivers messages together."""
        self.breaker = breaker
        self._database, self._handle, self._handle_many = database, handle, handle_many
        self._waker = Waker(database, outbox.CHANNEL)
        self._pace = Pace(database, database.name)

    def wake(self) -> None:
        """Notify the loops that a row has been committed."""
        self._waker.wake()

    def deliver(self, message: Message, timeout: float | None = None, handle: Handle | None = None) -> None:
        """Deliver one message that is leased to the caller. `handle` replaces the relay's own function for this call.

        Failures of the destination, and of interpreting its answer, are not raised: the message is released, with the
        error, and delivered later. The same happens if a rule of the database refuses what follows from the answer.
        Raises what `UNAVAILABLE` lists; then the message is claimed again after its lease expires.
        """
        began = time.perf_counter()
        with tracing.span(f"deliver {message.topic}", message.headers, _attributes(message)) as set_attribute:
            try:
                outcome = (handle or self._handle)(message, timeout)
            except (Unreachable, Refused) as error:
                self._release(message, error)
                outcome = _outcome(error)
                set_attribute("error.type", outcome)
            except UNAVAILABLE:
                raise
            except Exception as error:  # a fault in the code, or a change that a rule of the database refuses
                log.error("delivery_fault", topic=message.topic, aggregate_id=message.aggregate_id, exc_info=error)
                fault = f"the answer could not be interpreted or stored: {type(error).__name__}"
                self._release(message, Refused(fault))
                outcome = "refused"
                set_attribute("error.type", outcome)
            set_attribute("tandem.outcome", outcome)
            metrics.deliveries.labels(message.topic, outcome).inc()
            took = time.perf_counter() - began
            metrics.delivery_seconds.labels(message.topic).observe(took, tracing.exemplar())

    def deliver_many(self, messages: Sequence[Message]) -> None:
        """Deliver messages that are leased to the caller, of different aggregates; see `deliver`.

        If the answers can't be interpreted or stored, or the batch is refused as a whole because of one of its
        messages, each message is delivered alone: one bad message harms no other.
        """
        if len(messages) == 1 or self._handle_many is None:
            for message in messages:
                self.deliver(message)
            return
        began = time.perf_counter()
        spans = ((f"deliver {message.topic}", message.headers, _attributes(message)) for message in messages)
        with tracing.spans(spans) as set_attributes:
            failed = self._send_many(self._handle_many, messages)
            if failed is not None:
                self._finish(messages, failed, time.perf_counter() - began, set_attributes)
        if failed is None:
            for message in messages:
                self.deliver(message)

    @staticmethod
    def _send_many(handle_many: HandleMany, messages: Sequence[Message]) -> Mapping[str, Unreachable | Refused] | None:
        """Return the failures by message id, or None if each message is to be delivered alone."""
        try:
            return handle_many(messages)
        except Refused as error:
            if error.problem not in _OF_THE_CALLER:
                log.error("batch_divided", messages=len(messages), error=str(error))
                return None
            return dict.fromkeys((message.id for message in messages), error)
        except Unreachable as error:
            return dict.fromkeys((message.id for message in messages), error)
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.error("batch_divided", messages=len(messages), exc_info=error)
            return None

    def _finish(
        self,
        messages: Sequence[Message],
        failed: Mapping[str, Unreachable | Refused],
        took: float,
        set_attributes: Sequence[tracing.SetAttribute],
    ) -> None:
        for message, set_attribute in zip(messages, set_attributes, strict=True):
            failure = failed.get(message.id)
            outcome = "delivered"
            if failure is not None:
                outcome = _outcome(failure)
                with logs.request_context(message.headers):
                    self._release(message, failure)
                set_attribute("error.type", outcome)
            set_attribute("tandem.outcome", outcome)
            metrics.deliveries.labels(message.topic, outcome).inc()
            metrics.delivery_seconds.labels(message.topic).observe(took)

    def _release(self, message: Message, error: Exception) -> None:
        # The breaker already holds back calls to a destination that is down; only refused rows wait longer each time.
        delay = backoff(message.attempts, cap=2.0 if isinstance(error, Unreachable) else MAX_BACKOFF)
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
        """Return the loop that delivers due rows; `lease` and `poll` are in seconds."""
        alone = self._handle_many is None
        threads = concurrency if alone else min(concurrency, BATCH_THREADS)
        working = Shares(shares.most(threads), PATIENCE)

        def claim(session: Session, limit: int) -> list[Message]:
            return outbox.claim(session, lease, limit)

        def claim_batches(session: Session, limit: int) -> list[list[Message]]:
            share = working.share(BATCH)
            messages = outbox.claim(session, lease, limit * BATCH, share)
            batches = shares.divide(messages, share.in_flight, BATCH)
            for batch in batches:
                working.begin({message.merchant for message in batch})
            return batches

        def deliver_batch(messages: Sequence[Message]) -> None:
            began = time.monotonic()
            try:
                self.deliver_many(messages)
                self._pace.rest(time.monotonic() - began)
            finally:
                working.end({message.merchant for message in messages})

        return WorkLoop(
            "relay",
            self._database,
            claim if alone else claim_batches,
            self.deliver if alone else deliver_batch,
            channel=outbox.CHANNEL,
            concurrency=threads,
            poll=poll,
            gate=self.breaker.room,
        )


def _outcome(error: Unreachable | Refused) -> str:
    return "unreachable" if isinstance(error, Unreachable) else "refused"


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
