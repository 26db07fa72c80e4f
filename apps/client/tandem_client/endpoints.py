"""The operations on webhook endpoints and their deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import WebhookDelivery, WebhookEndpoint
from tandem_client.operation import listing, operation
from tandem_client.steps import Listing, Steps
from tandem_client.transport import Transport
from tandem_client.values import DeliveryEventType, DeliveryStatus, Unknown, WebhookEventType

_PATH = "webhook-endpoints"


class Unchanged:
    """The type of `UNCHANGED`."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()
"""The default of arguments whose None means something."""


class WebhookEndpoints:
    """Operations on webhook endpoints. Use `webhooks.verify` to check the webhooks you receive.

    `idempotency_key` and the exceptions are those of `Orders`.
    """

    _order: Transport

    @operation
    def create_webhook_endpoint(
        self,
        *,
        url: str,
        events: Iterable[WebhookEventType | Unknown] | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[WebhookEndpoint]:
        """Send events to a URL: those of the given types, by default every outcome.

        `webhooks.verify` needs the endpoint's `secret`. Only this call and `rotate_webhook_secret` return it.
        """
        body = {"url": url, "events": None if events is None else list(events), "description": description}
        return read(WebhookEndpoint, (yield from self._order.post(_PATH, body=body, key=idempotency_key)))

    @operation
    def list_webhook_endpoints(self) -> Steps[Several[WebhookEndpoint]]:
        """Return all endpoints, newest first."""
        return read_all(WebhookEndpoint, (yield from self._order.get(_PATH)))

    @operation
    def get_webhook_endpoint(self, endpoint_id: str) -> Steps[WebhookEndpoint]:
        """Return the current state of an endpoint."""
        return read(WebhookEndpoint, (yield from self._order.get(_PATH, endpoint_id)))

    @operation
    def update_webhook_endpoint(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Iterable[WebhookEventType | Unknown] | None = None,
        description: str | Unchanged | None = UNCHANGED,
        enabled: bool | None = None,
    ) -> Steps[WebhookEndpoint]:
        """Change an endpoint. What is left out stays as it is; `description` None removes the description.

        The secret stays, and what waits goes to the new URL. With `enabled` False nothing is sent; events are kept
        until the endpoint is enabled again.
        """
        changes = {"url": url, "events": None if events is None else list(events), "enabled": enabled}
        body: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        if not isinstance(description, Unchanged):
            body["description"] = description
        # Without a key: the same change twice is one change.
        return read(WebhookEndpoint, (yield from self._order.patch_without_key(_PATH, endpoint_id, body=body)))

    @operation
    def delete_webhook_endpoint(self, endpoint_id: str) -> Steps[None]:
        """Delete an endpoint and its undelivered events (status `pending` or `dead`)."""
        yield from self._order.delete(_PATH, endpoint_id)

    @operation
    def rotate_webhook_secret(
        self, endpoint_id: str, *, overlap_seconds: int | None = None, idempotency_key: str | None = None
    ) -> Steps[WebhookEndpoint]:
        """Create a new secret. The old one keeps signing, too, for `overlap_seconds` (by default one day)."""
        body = {"overlap_seconds": overlap_seconds}
        answer = yield from self._order.post(_PATH, endpoint_id, "rotate-secret", body=body, key=idempotency_key)
        return read(WebhookEndpoint, answer)

    @operation
    def enable_webhook_endpoint(
        self, endpoint_id: str, *, idempotency_key: str | None = None
    ) -> Steps[WebhookEndpoint]:
        """Enable an endpoint that is `disabled` because it responded with 410, or on request."""
        return read(WebhookEndpoint, (yield from self._order.post(_PATH, endpoint_id, "enable", key=idempotency_key)))

    @operation
    def test_webhook_endpoint(
        self, endpoint_id: str, *, type: DeliveryEventType | Unknown | None = None, idempotency_key: str | None = None
    ) -> Steps[WebhookDelivery]:
        """Send the endpoint an event `webhook.test`, or an example of another `type`, whose order does not exist."""
        answer = yield from self._order.post(_PATH, endpoint_id, "test", body={"type": type}, key=idempotency_key)
        return read(WebhookDelivery, answer)

    @operation
    def redeliver_webhooks(
        self, endpoint_id: str, *, since: datetime, idempotency_key: str | None = None
    ) -> Steps[WebhookEndpoint]:
        """Send all events since a time again, with the same ids, whether their deliveries succeeded or are dead.

        `redelivering_since` of the endpoint is None again when all of them are due.
        """
        body = {"since": paging.query_time(since)}
        answer = yield from self._order.post(_PATH, endpoint_id, "redeliver", body=body, key=idempotency_key)
        return read(WebhookEndpoint, answer)

    @listing
    def list_webhook_deliveries(
        self,
        endpoint_id: str,
        *,
        status: DeliveryStatus | Unknown | None = None,
        type: DeliveryEventType | Unknown | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int | None = None,
    ) -> Listing[WebhookDelivery]:
        """Iterate over an endpoint's deliveries, newest event first.

        The filters are the status, the type of the event, and when it happened. The deliveries come without payload and
        attempts. Pages are requested as needed.
        """
        yield from paging.iterate(
            WebhookDelivery,
            self._order,
            *(_PATH, endpoint_id, "deliveries"),
            status=status,
            type=type,
            created_after=paging.query_time(created_after),
            created_before=paging.query_time(created_before),
            limit=page_size,
        )

    @operation
    def get_webhook_delivery(self, endpoint_id: str, delivery_id: str) -> Steps[WebhookDelivery]:
        """Return a delivery with its payload and attempts."""
        return read(WebhookDelivery, (yield from self._order.get(_PATH, endpoint_id, "deliveries", delivery_id)))

    @operation
    def redeliver_webhook(
        self, endpoint_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> Steps[WebhookDelivery]:
        """Send an event again with the same id, whatever the delivery's status."""
        path = (_PATH, endpoint_id, "deliveries", delivery_id, "redeliver")
        return read(WebhookDelivery, (yield from self._order.post(*path, key=idempotency_key)))
