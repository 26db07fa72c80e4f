"""The loop that delivers webhooks: claim a delivery, make one attempt, store its result."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from chassis.messaging import signatures
from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Database, Session
from chassis.telemetry import logs, metrics, tracing
from order.webhooks import model, queue
from order.webhooks.config import Settings
from order.webhooks.keys import KeyMissing, Keys
from order.webhooks.model import Attempt, Status
from order.webhooks.queue import Delivery
from order.webhooks.sender import Sender

log = logs.get_logger()


class Deliverer:
    """Makes attempts at deliveries that are leased to it."""

    def __init__(self, database: Database, settings: Settings, keys: Keys, sender: Sender) -> None:
        self._database, self._settings, self._keys, self._sender = database, settings, keys, sender

    def loop(self, *, lease: float, poll: float) -> WorkLoop:
        """Return the loop that delivers due webhooks; times in seconds.

        A delivery is leased for `lease` seconds longer than two attempts may take: the attempt before it in the same
        thread, and its own.
        """
        concurrency = self._settings.concurrency
        # A merchant's endpoints together get half of the threads, however many they are and however slow; one endpoint
        # gets a quarter.
        share, merchant_share = max(1, concurrency // 4), max(1, concurrency // 2)

        def claim(session: Session, limit: int) -> Sequence[Delivery]:
            settings = self._settings
            dead = queue.give_up(session, settings.give_up + model.LONGEST_PAUSE)
            if dead:
                log.warning("webhooks_dead", untried=dead)
            queue.redeliver_some(session)
            lease_seconds = 2 * settings.timeout + lease
            return queue.claim(session, lease_seconds, limit, share, merchant_share, settings.give_up)

        return WorkLoop(
            "webhooks",
            self._database,
            claim,
            self.deliver,
            channel=queue.CHANNEL,
            concurrency=concurrency,
            poll=poll,
        )

    def deliver(self, delivery: Delivery) -> None:
        """Make one attempt at a leased delivery and store what follows from it.

        If the endpoint fails, nothing is raised. Raises psycopg.Error when this service's database fails; another
        worker claims the delivery after the lease expires.
        """
        with tracing.span(f"deliver {delivery.type}", delivery.headers, _attributes(delivery)) as set_attribute:
            self._deliver(delivery, set_attribute)

    def _deliver(self, delivery: Delivery, set_attribute: tracing.SetAttribute) -> None:
        found = queue.to_send(self._database.session(), delivery)
        if found is None:
            return  # while it waited for a thread, its lease expired, or its endpoint was deleted or disabled
        delivery, body = found
        attempt = self._send(delivery, body.encode())
        if attempt.status_code is not None:
            set_attribute("http.response.status_code", attempt.status_code)
        ok = attempt.error is None
        failures = 0 if ok else delivery.failures + 1
        remaining = delivery.remaining - attempt.seconds
        verdict = model.decide(attempt, delivery.tries, failures, remaining, self._settings.retry, random.random())
        with self._database.transaction() as session:
            outcome = queue.settle(session, delivery, attempt, verdict) or "lease_lost"
        metrics.deliveries.labels("webhook", outcome).inc()
        metrics.delivery_seconds.labels("webhook").observe(attempt.seconds, tracing.exemplar())
        set_attribute("tandem.outcome", outcome)
        if not ok:
            set_attribute("error.type", str(attempt.status_code or "unreachable"))
            log.warning(
                "webhook_failed",
                merchant=delivery.merchant,
                endpoint_id=delivery.endpoint_id,
                delivery_id=delivery.id,
                attempts=delivery.attempts,
                outcome=outcome,
                again_in=round(verdict.delay, 2) if verdict.status is Status.PENDING else None,
                error=attempt.error,
            )

    def _send(self, delivery: Delivery, body: bytes) -> Attempt:
        try:
            secrets = self._keys.signing_secrets(delivery.secrets, datetime.now(UTC))
        except KeyMissing as error:
            log.error("webhook_key_missing", endpoint_id=delivery.endpoint_id, error=error)
            return Attempt(None, "not signed: a fault of this service", 0.0)
        headers = signatures.sign(secrets[0], delivery.id, body, *secrets[1:])
        began = time.monotonic()
        try:
            return self._sender.post(delivery.url, body, headers, delivery.merchant)
        except Exception as error:
            # Recorded as a failed attempt: otherwise the delivery would be sent again after each lease, and never end.
            log.error("webhook_attempt_fault", delivery_id=delivery.id, exc_info=error)
            return Attempt(None, "the response could not be interpreted", time.monotonic() - began)


def _attributes(delivery: Delivery) -> dict[str, str | int]:
    # Only the host of the URL: the rest is the merchant's and may contain a secret.
    return {
        "messaging.system": "postgresql",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": "webhook",
        "server.address": urlsplit(delivery.url).hostname or "",
        "tandem.merchant": delivery.merchant,
        "tandem.endpoint_id": delivery.endpoint_id,
        "tandem.delivery_id": delivery.id,
        "tandem.attempt": delivery.attempts,
    }
