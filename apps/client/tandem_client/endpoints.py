"""The operations on webhook endpoints and their deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import WebhookDelivery, WebhookEndpoint
from tandem_client.transport import Transport

_PATH = "webhook-endpoints"


class WebhookEndpoints:
    """Operations on webhook endpoints. Use `webhooks.verify` to check the webhooks you receive.

    `idempotency_key` and the exceptions are those of `Orders`.
    """

    _order: Transport

    def create_webhook_endpoint(
        self,
        *,
        url: str,
        events: Iterable[str] | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> WebhookEndpoint:
        """Send events to a URL: those of the given types, by default every outcome.

        `webhooks.verify` needs the endpoint's `secret`. Only this call and `rotate_webhook_secret` return it.
        """
        body = {"url": url, "events": None if events is None else list(events), "description": description}
        return read(WebhookEndpoint, self._order.post(_PATH, body=body, key=idempotency_key))

    def list_webhook_endpoints(self) -> Several[WebhookEndpoint]:
        """Return all endpoints, newest first."""
        return read_all(WebhookEndpoint, self._order.get(_PATH))

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        """Return the current state of an endpoint."""
        return read(WebhookEndpoint, self._order.get(_PATH, endpoint_id))

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Delete an endpoint and its undelivered events (status `pending` or `dead`)."""
        self._order.delete(_PATH, endpoint_id)

    def rotate_webhook_secret(
        self, endpoint_id: str, *, overlap_seconds: int | None = None, idempotency_key: str | None = None
    ) -> WebhookEndpoint:
        """Create a new secret. The old one keeps signing, too, for `overlap_seconds` (by default one day)."""
        body = {"overlap_seconds": overlap_seconds}
        answer = self._order.post(_PATH, endpoint_id, "rotate-secret", body=body, key=idempotency_key)
        return read(WebhookEndpoint, answer)

    def enable_webhook_endpoint(self, endpoint_id: str, *, idempotency_key: str | None = None) -> WebhookEndpoint:
        """Enable an endpoint that is `disabled` because it responded with 410."""
        return read(WebhookEndpoint, self._order.post(_PATH, endpoint_id, "enable", key=idempotency_key))

    def test_webhook_endpoint(self, endpoint_id: str, *, idempotency_key: str | None = None) -> WebhookDelivery:
        """Send the endpoint an event `webhook.test`."""
        return read(WebhookDelivery, self._order.post(_PATH, endpoint_id, "test", key=idempotency_key))

    def list_webhook_deliveries(
        self, endpoint_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> Iterator[WebhookDelivery]:
        """Iterate over an endpoint's deliveries, newest event first, optionally filtered by status.

        They come without payload and attempts. Pages are requested as needed.
        """
        path = (_PATH, endpoint_id, "deliveries")
        return paging.iterate(WebhookDelivery, self._order, *path, status=status, limit=page_size)

    def get_webhook_delivery(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """Return a delivery with its payload and attempts."""
        return read(WebhookDelivery, self._order.get(_PATH, endpoint_id, "deliveries", delivery_id))

    def redeliver_webhook(
        self, endpoint_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> WebhookDelivery:
        """Send an event again with the same id, whatever the delivery's status."""
        path = (_PATH, endpoint_id, "deliveries", delivery_id, "redeliver")
        return read(WebhookDelivery, self._order.post(*path, key=idempotency_key))
