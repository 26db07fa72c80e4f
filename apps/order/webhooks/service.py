"""The use cases of webhooks: one transaction each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import uuid_utils

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, invalid
from chassis.messaging.work import Waker
from chassis.postgres.database import Database, Row, Session
from order.webhooks import queue, store
from order.webhooks.addresses import BadUrl, Forbidden
from order.webhooks.config import Settings
from order.webhooks.deliverer import Deliverer
from order.webhooks.examples import example
from order.webhooks.keys import Keys, is_made_by, rotated
from order.webhooks.sender import Sender

MOST_ENDPOINTS = 20
"""The most endpoints of a merchant: each event of the merchant is stored at most this many times."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """The view of an endpoint or delivery, and whether an earlier request with the same key did the work.

    `secret` is the endpoint's newest secret, for the request that created it and its retries.
    """

    row: Row
    replayed: bool = False
    secret: str | None = None


class Webhooks:
    """What merchants and operators can do with endpoints and deliveries. The `deliverer` delivers."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._keys = Keys(settings.keys)
        self._sender = Sender(settings)
        self._waker = Waker(database, queue.CHANNEL)
        self.deliverer = Deliverer(database, settings, self._keys, self._sender)

    def wake(self) -> None:
        """Notify the loops that a delivery has been committed."""
        self._waker.wake()

    def register(self, claim: Claim, wanted: dict[str, Any]) -> Done:
        """Store an endpoint; `wanted` is what schemas.CreateEndpoint loads.

        Raises Problem `validation` for a URL that webhooks may not be sent to, and `webhook-endpoint-limit`.
        """
        # A replay must not fail because the URL's host no longer resolves.
        if idempotency.earlier(self._database.session(), claim) is None:
            self._check(wanted["url"], claim.merchant)
        endpoint_id = str(uuid_utils.uuid7())
        new = {"description": None, **wanted, "merchant": claim.merchant, "id": endpoint_id}
        new["secrets"] = [self._keys.new(claim.key)]
        with idempotency.once(self._database, claim, endpoint_id, 201) as (session, earlier):
            if earlier is not None:
                endpoint_id = earlier.resource_id
            else:
                store.lock_merchant(session, claim.merchant)
                if store.count(session, claim.merchant) >= MOST_ENDPOINTS:
                    raise Problem("webhook-endpoint-limit", f"There are {MOST_ENDPOINTS} endpoints already.")
                store.insert(session, new)
        return self._with_secret(claim, endpoint_id, replayed=earlier is not None)

    def _check(self, url: str, merchant: str) -> None:
        try:
            self._sender.check(url, merchant)
        except BadUrl as error:
            raise invalid("/url", str(error)) from error
        except Forbidden as error:
            raise invalid("/url", "Must name a host that resolves to public addresses only.") from error

    def rotate(self, claim: Claim, endpoint_id: str, overlap: float | None) -> Done:
        """Give an endpoint a new secret. The old ones also sign for `overlap` seconds, by default as the settings say.

        Raises Problem `webhook-endpoint-not-found`.
        """
        now = datetime.now(UTC)
        until = now + timedelta(seconds=self._settings.overlap if overlap is None else overlap)

        def act(session: Session, endpoint: Row) -> None:
            stored = rotated(endpoint["secrets"], self._keys.new(claim.key), until, now)
            store.set_secrets(session, claim.merchant, endpoint_id, stored)

        _, replayed = self._once(claim, endpoint_id, endpoint_id, 200, act)
        return self._with_secret(claim, endpoint_id, replayed)

    def enable(self, claim: Claim, endpoint_id: str) -> Done:
        """Enable an endpoint; what waited for it is sent. Raises Problem `webhook-endpoint-not-found`."""

        def act(session: Session, _: Row) -> None:
            store.enable(session, claim.merchant, endpoint_id)

        _, replayed = self._once(claim, endpoint_id, endpoint_id, 200, act)
        self._revive(claim.merchant, endpoint_id)
        return Done(self.get(claim.merchant, endpoint_id), replayed)

    def change(self, merchant: str, endpoint_id: str, wanted: dict[str, Any]) -> Row:
        """Change an endpoint; `wanted` is what schemas.EndpointChange loads. Returns its view.

        Raises Problem `webhook-endpoint-not-found`, or `validation` for a URL that webhooks may not be sent to.
        """
        self.get(merchant, endpoint_id)
        if "url" in wanted:
            self._check(wanted["url"], merchant)
        with self._database.transaction() as session:
            endpoint = _found(store.get(session, merchant, endpoint_id, lock=True))
            store.change(session, merchant, endpoint_id, wanted)
            enabled = wanted.get("enabled")
            if enabled and endpoint["status"] != "enabled":
                store.enable(session, merchant, endpoint_id)
            elif enabled is False and endpoint["status"] == "enabled":
                store.disable(session, merchant, endpoint_id)
        if enabled:
            self._revive(merchant, endpoint_id)
        elif wanted.get("url", endpoint["url"]) != endpoint["url"]:
            self._advance(merchant, endpoint_id)
        return self.get(merchant, endpoint_id)

    def _revive(self, merchant: str, endpoint_id: str) -> None:
        """Send what was waiting when the endpoint was disabled, and what has happened since."""
        while store.revive(self._database.session(), merchant, endpoint_id):
            pass
        self._advance(merchant, endpoint_id)

    def _advance(self, merchant: str, endpoint_id: str) -> None:
        """Send what waits for its next attempt. If the process dies, it is sent at that attempt."""
        # Until a part is not full: more may fail, and wait again, while this runs.
        while queue.advance(self._database.session(), merchant, endpoint_id) >= queue.LOOKED_AT:
            pass
        self.wake()

    def redeliver_since(self, claim: Claim, endpoint_id: str, since: datetime) -> Done:
        """Deliver all events again that happened at or after a time. The loop makes them due, in parts.

        Raises Problem `webhook-endpoint-not-found` or `webhook-endpoint-disabled`.
        """

        def act(session: Session, endpoint: Row) -> None:
            _must_be_enabled(endpoint)
            store.redeliver_since(session, claim.merchant, endpoint_id, since)

        _, replayed = self._once(claim, endpoint_id, endpoint_id, 200, act)
        self.wake()
        return Done(self.get(claim.merchant, endpoint_id), replayed)

    def send_test(self, claim: Claim, endpoint_id: str, kind: str) -> Done:
        """Send a `webhook.test` event, or an example of another type, to an endpoint.

        Raises Problem `webhook-endpoint-not-found` or `webhook-endpoint-disabled`.
        """
        delivery_id = str(uuid_utils.uuid7())

        def act(session: Session, endpoint: Row) -> None:
            _must_be_enabled(endpoint)
            event = example(kind, endpoint_id, _now(), str(uuid_utils.uuid7()), str(uuid_utils.uuid7()))
            store.insert_delivery(session, claim.merchant, endpoint_id, delivery_id, kind, json.dumps(event))

        return self._deliver_once(claim, endpoint_id, delivery_id, act)

    def redeliver(self, claim: Claim, endpoint_id: str, delivery_id: str) -> Done:
        """Deliver an event again, whatever its status.

        Raises Problem `webhook-endpoint-not-found`, `webhook-delivery-not-found` or `webhook-endpoint-disabled`.
        """

        def act(session: Session, endpoint: Row) -> None:
            _found(store.get_delivery(session, claim.merchant, endpoint_id, delivery_id), "webhook-delivery-not-found")
            _must_be_enabled(endpoint)
            store.redeliver(session, claim.merchant, endpoint_id, delivery_id)

        return self._deliver_once(claim, endpoint_id, delivery_id, act)

    def delete(self, merchant: str, endpoint_id: str) -> None:
        """Delete an endpoint; nothing more is sent to it. Raises Problem `webhook-endpoint-not-found`."""
        with self._database.transaction() as session:
            _found(store.delete(session, merchant, endpoint_id) or None)

    def get(self, merchant: str, endpoint_id: str) -> Row:
        """Return an endpoint's view. Raises Problem `webhook-endpoint-not-found`."""
        return _found(store.get(self._database.session(), merchant, endpoint_id))

    def find(self, merchant: str) -> list[Row]:
        """Return views of a merchant's endpoints, newest first."""
        return store.find(self._database.session(), merchant)

    def delivery(self, merchant: str, endpoint_id: str, delivery_id: str) -> Row:
        """Return a delivery's view, with its attempts.

        Raises Problem `webhook-endpoint-not-found` or `webhook-delivery-not-found`.
        """
        self.get(merchant, endpoint_id)
        row = store.get_delivery(self._database.session(), merchant, endpoint_id, delivery_id)
        return _found(row, "webhook-delivery-not-found")

    def deliveries(
        self, merchant: str, endpoint_id: str, query: dict[str, Any], after: str | None, limit: int
    ) -> list[Row]:
        """Return views of an endpoint's deliveries, newest event first; see store.find_deliveries.

        Raises Problem `webhook-endpoint-not-found`.
        """
        self.get(merchant, endpoint_id)
        return store.find_deliveries(self._database.session(), merchant, endpoint_id, query, after, limit)

    def dead(self, merchant: str | None, limit: int | None = None) -> list[Row]:
        """Return dead deliveries, of a merchant or of all (None), oldest first; at most `limit`."""
        return store.find_dead(self._database.session(), merchant, limit)

    def redeliver_dead(self, merchant: str | None, delivery_id: str | None, endpoint_id: str | None = None) -> int:
        """Redeliver the dead deliveries of enabled endpoints that match the filters. Returns how many."""
        total, before = 0, _now()
        while count := store.redeliver_dead(self._database.session(), merchant, delivery_id, before, endpoint_id):
            total += count
        self.wake()
        return total

    def _deliver_once(
        self, claim: Claim, endpoint_id: str, delivery_id: str, act: Callable[[Session, Row], None]
    ) -> Done:
        """Make a delivery due under an idempotency key. Returns its view."""
        delivery_id, replayed = self._once(claim, endpoint_id, delivery_id, 202, act)
        if not replayed:
            self.wake()
        return Done(self.delivery(claim.merchant, endpoint_id, delivery_id), replayed)

    def _once(
        self, claim: Claim, endpoint_id: str, resource_id: str, status: int, act: Callable[[Session, Row], None]
    ) -> tuple[str, bool]:
        """Call `act` with the locked endpoint, once per idempotency key.

        Returns the id of the resource that the key stands for, and whether an earlier request did it.
        """
        with idempotency.once(self._database, claim, resource_id, status) as (session, earlier):
            if earlier is not None:
                return earlier.resource_id, True
            act(session, _found(store.get(session, claim.merchant, endpoint_id, lock=True)))
        return resource_id, False

    def _with_secret(self, claim: Claim, endpoint_id: str, replayed: bool) -> Done:
        """Return an endpoint's view with its newest secret, unless another request has made a newer one since.

        Otherwise, a caller who repeats an old request could read a secret that was made after the old one had leaked.
        """
        row = self.get(claim.merchant, endpoint_id)
        newest = row["secrets"][0]
        return Done(row, replayed, self._keys.secret(newest) if is_made_by(newest, claim.key) else None)


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
