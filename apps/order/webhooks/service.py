"""The use cases of webhooks: one transaction each, and one loop that delivers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uuid_utils

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, invalid
from chassis.messaging import leases, outbox, signatures
from chassis.messaging.leases import LeaseLoop
from chassis.postgres.database import Database, Row, Session
from chassis.telemetry import logs, metrics, tracing
from chassis.telemetry.metrics import DatabaseGauges, Samples
from order.webhooks import model, store
from order.webhooks.addresses import BadUrl, Forbidden
from order.webhooks.config import Settings
from order.webhooks.keys import KeyMissing, Keys, rotated
from order.webhooks.model import Attempt, Status
from order.webhooks.sender import Sender
from order.webhooks.store import Delivery

log = logs.get_logger()

MOST_ENDPOINTS = 20
"""An event of a merchant is stored so many times at most."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """The view of an endpoint or delivery as it stands, and whether an earlier request with the same key did it.

    `secret` is an endpoint's, for the requests that made it.
    """

    row: Row
    replayed: bool = False
    secret: str | None = None


class Webhooks:
    """What merchants do with their endpoints, and what is delivered to them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Opens nothing yet."""
        self._database, self._settings = database, settings
        self._keys = Keys(settings.keys)
        self._sender = Sender(settings)
        self._waker = outbox.Waker(database, store.CHANNEL)

    def wake(self) -> None:
        """Tell the loops that a delivery has been committed."""
        self._waker.wake()

    def register(self, claim: Claim, wanted: dict[str, Any]) -> Done:
        """Store an endpoint; `wanted` is what schemas.NewEndpoint loads.

        Raises Problem for a URL that webhooks may not go to, or when there are as many endpoints as there may be.
        """
        if idempotency.earlier(self._database.session(), claim) is None:
            self._check(wanted["url"])
        endpoint_id = str(uuid_utils.uuid7())
        new = {"description": None, **wanted, "merchant": claim.merchant, "id": endpoint_id}
        new["secrets"] = [self._keys.new()]
        with idempotency.not_in_use(), self._database.transaction() as session:
            taken = idempotency.take(session, claim, endpoint_id, 201)
            if taken:
                store.lock_merchant(session, claim.merchant)
                if store.count(session, claim.merchant) >= MOST_ENDPOINTS:
                    raise Problem("webhook-endpoint-limit", f"There are {MOST_ENDPOINTS} endpoints already.")
                store.add(session, new)
            else:
                endpoint_id = idempotency.required(session, claim).resource_id
        return self._with_secret(claim.merchant, endpoint_id, replayed=not taken)

    def _check(self, url: str) -> None:
        try:
            self._sender.check(url)
        except BadUrl as error:
            raise invalid("/url", str(error)) from error
        except Forbidden as error:
            raise invalid("/url", "Must name a host that resolves to public addresses only.") from error

    def rotate(self, claim: Claim, endpoint_id: str, overlap: float | None) -> Done:
        """Give an endpoint a new secret; the old one signs besides for `overlap` seconds, or what the settings say."""
        now = datetime.now(UTC)
        until = now + timedelta(seconds=self._settings.overlap if overlap is None else overlap)

        def act(session: Session, endpoint: Row) -> None:
            stored = rotated(endpoint["secrets"], self._keys.new(), until, now)
            store.set_secrets(session, claim.merchant, endpoint_id, stored)

        _, replayed = self._act(claim, endpoint_id, endpoint_id, 200, act)
        return self._with_secret(claim.merchant, endpoint_id, replayed)

    def enable(self, claim: Claim, endpoint_id: str) -> Done:
        """Tell an endpoint of events again, after it had said that it is gone."""

        def act(session: Session, _: Row) -> None:
            store.enable(session, claim.merchant, endpoint_id)

        _, replayed = self._act(claim, endpoint_id, endpoint_id, 200, act)
        return Done(self.get(claim.merchant, endpoint_id), replayed)

    def test(self, claim: Claim, endpoint_id: str) -> Done:
        """Send an endpoint an event that is of no order. Raises Problem `webhook-endpoint-disabled`."""
        delivery_id = str(uuid_utils.uuid7())

        def act(session: Session, endpoint: Row) -> None:
            _must_be_enabled(endpoint)
            said = {"type": model.TEST, "timestamp": _now(), "data": {"webhook_endpoint_id": endpoint_id}}
            store.add_delivery(session, claim.merchant, endpoint_id, delivery_id, model.TEST, json.dumps(said))
            store.end_pause(session, claim.merchant, endpoint_id)

        return self._deliver(claim, endpoint_id, delivery_id, act)

    def redeliver(self, claim: Claim, endpoint_id: str, delivery_id: str) -> Done:
        """Deliver once more, whatever became of it before. Raises Problem `webhook-endpoint-disabled`."""

        def act(session: Session, endpoint: Row) -> None:
            _found(store.get_delivery(session, claim.merchant, endpoint_id, delivery_id), "webhook-delivery-not-found")
            _must_be_enabled(endpoint)
            store.redeliver(session, claim.merchant, endpoint_id, delivery_id)
            store.end_pause(session, claim.merchant, endpoint_id)

        return self._deliver(claim, endpoint_id, delivery_id, act)

    def _deliver(self, claim: Claim, endpoint_id: str, delivery_id: str, act: Callable[[Session, Row], None]) -> Done:
        delivery_id, replayed = self._act(claim, endpoint_id, delivery_id, 202, act)
        if not replayed:
            self.wake()
        return Done(self.delivery(claim.merchant, endpoint_id, delivery_id), replayed)

    def delete(self, merchant: str, endpoint_id: str) -> None:
        """Forget an endpoint; nothing more is sent there. Raises Problem `webhook-endpoint-not-found`."""
        with self._database.transaction() as session:
            _found(store.delete(session, merchant, endpoint_id) or None)

    def get(self, merchant: str, endpoint_id: str) -> Row:
        """An endpoint's view. Raises Problem `webhook-endpoint-not-found`."""
        return _found(store.get(self._database.session(), merchant, endpoint_id))

    def find(self, merchant: str) -> list[Row]:
        """Views of a merchant's endpoints, newest first."""
        return store.find(self._database.session(), merchant)

    def delivery(self, merchant: str, endpoint_id: str, delivery_id: str) -> Row:
        """A delivery's view, with its attempts. Raises Problem when there is no such endpoint or delivery."""
        self.get(merchant, endpoint_id)
        row = store.get_delivery(self._database.session(), merchant, endpoint_id, delivery_id)
        return _found(row, "webhook-delivery-not-found")

    def deliveries(
        self, merchant: str, endpoint_id: str, status: str | None, after: str | None, limit: int
    ) -> list[Row]:
        """Views of an endpoint's deliveries, newest event first. Raises Problem `webhook-endpoint-not-found`."""
        self.get(merchant, endpoint_id)
        return store.find_deliveries(self._database.session(), merchant, endpoint_id, status, after, limit)

    def dead(self, merchant: str | None, limit: int | None = None) -> list[Row]:
        """Dead letters, of a merchant or of all, oldest first; so many at most."""
        return store.find_dead(self._database.session(), merchant, limit)

    def redeliver_dead(self, merchant: str | None, delivery_id: str | None, endpoint_id: str | None = None) -> int:
        """Deliver dead letters once more, where their endpoints are enabled: one (at one endpoint) or all; how many."""
        total, before = 0, _now()
        while count := store.redeliver_dead(self._database.session(), merchant, delivery_id, before, endpoint_id):
            total += count
        self.wake()
        return total

    def loop(self, *, lease: float, poll: float) -> LeaseLoop:
        """The loop that delivers what is due; `lease` is for longer than attempts may take. Times in seconds."""
        owner, concurrency = leases.owner(), self._settings.concurrency
        # A fourth each, so that it takes four slow endpoints to keep the others waiting.
        share = max(1, concurrency // 4)

        def claim(session: Session, limit: int) -> Sequence[Delivery]:
            settings = self._settings
            buried = store.bury(session, settings.give_up + model.LONGEST_PAUSE)
            if buried:
                log.warning("webhooks_dead", untried=buried)
            fenced = f"{owner} {uuid_utils.uuid7()}"
            # What waits for a thread has its own attempt and another's before it.
            return store.claim(session, fenced, 2 * settings.timeout + lease, limit, share, settings.give_up)

        return LeaseLoop(
            "webhooks",
            self._database,
            claim,
            self.attempt,
            channel=store.CHANNEL,
            concurrency=concurrency,
            poll=poll,
        )

    def attempt(self, delivery: Delivery) -> None:
        """Make one attempt at a delivery that is leased to us, and write down what came of it.

        Does not raise for what the endpoint does. Raises psycopg.Error when our own database fails; the delivery
        comes back when its lease runs out.
        """
        with tracing.span(f"deliver {delivery.type}", delivery.headers, _attributes(delivery)) as note:
            self._attempt(delivery, note)

    def _attempt(self, delivery: Delivery, note: tracing.SetAttribute) -> None:
        if not store.is_ours(self._database.session(), delivery):
            return  # it has waited for this thread, and the endpoint is deleted or somebody else has it
        attempt = self._send(delivery)
        if attempt.status_code is not None:
            note("http.response.status_code", attempt.status_code)
        ok = attempt.error is None
        failures = 0 if ok else delivery.failures + 1
        left = delivery.left - attempt.seconds
        verdict = model.judge(attempt, delivery.tries, failures, left, self._settings.retry, random.random())
        with self._database.transaction() as session:
            outcome = verdict.status if store.settle(session, delivery, attempt, verdict) else "lease_lost"
        metrics.deliveries.labels("webhook", outcome).inc()
        metrics.delivery_seconds.labels("webhook").observe(attempt.seconds, tracing.exemplar())
        note("tandem.outcome", outcome)
        if not ok:
            note("error.type", str(attempt.status_code or "unreachable"))
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

    def _send(self, delivery: Delivery) -> Attempt:
        body = delivery.payload.encode()
        try:
            signing = self._keys.signing(delivery.secrets, datetime.now(UTC))
        except KeyMissing as error:
            log.error("webhook_key_missing", endpoint_id=delivery.endpoint_id, error=error)
            return Attempt(None, "not signed: a fault on our side", 0.0)
        return self._sender.post(delivery.url, body, signatures.sign(signing[0], delivery.id, body, *signing[1:]))

    def add_gauges(self, gauges: DatabaseGauges) -> None:
        """Measure what waits to be delivered, how long the oldest has waited, and what is dead."""

        def count(session: Session) -> Samples:
            return [((status,), (number,)) for status, number in store.backlog(session).items()]

        def oldest(session: Session) -> Samples:
            return [((), (store.oldest_seconds(session),))]

        gauges.add(
            {"webhook_deliveries": f"Deliveries by status, {metrics.COUNT_LIMIT:,} of each at most."},
            ("status",),
            count,
        )
        gauges.add({"webhook_oldest_seconds": "Age of the oldest pending one."}, (), oldest)

    def _act(
        self, claim: Claim, endpoint_id: str, resource_id: str, status: int, act: Callable[[Session, Row], None]
    ) -> tuple[str, bool]:
        """Do something with a locked endpoint under an idempotency key.

        What the key stands for, and whether it had been done before.
        """
        with idempotency.not_in_use(), self._database.transaction() as session:
            taken = idempotency.take(session, claim, resource_id, status)
            if taken:
                act(session, _found(store.get(session, claim.merchant, endpoint_id, lock=True)))
            else:
                resource_id = idempotency.required(session, claim).resource_id
        return resource_id, not taken

    def _with_secret(self, merchant: str, endpoint_id: str, replayed: bool) -> Done:
        row = self.get(merchant, endpoint_id)
        return Done(row, replayed, self._keys.secret(row["secrets"][0]))


def _attributes(delivery: Delivery) -> dict[str, str | int]:
    # Of the URL only the host: the rest is the merchant's, and may be as good as a password.
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


def _must_be_enabled(endpoint: Row) -> None:
    if endpoint["status"] != "enabled":
        raise Problem("webhook-endpoint-disabled", "Nothing is sent to an endpoint that is disabled.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _found(thing: T | None, problem: str = "webhook-endpoint-not-found") -> T:
    if thing is None:
        what = "endpoint" if problem == "webhook-endpoint-not-found" else "delivery"
        raise Problem(problem, f"This merchant has no webhook {what} with this id.")
    return thing
