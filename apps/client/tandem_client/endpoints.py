"""The calls about webhooks: where events are sent, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tandem_client import paging
from tandem_client.answers import Several, read, read_all
from tandem_client.model import WebhookDelivery, WebhookEndpoint
from tandem_client.transport import Transport

_PATH = "webhook-endpoints"


class WebhookEndpoints:
    """What can be done with webhook endpoints; `webhooks.verify` is for those who receive.

    `idempotency_key` and the errors are as with orders.
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
        """Have events sent to a URL: those of these types, or without any, every outcome.

        Its `secret` is what `webhooks.verify` needs; it is told here and in `rotate_webhook_secret`, and never again.
        """
        body = {"url": url, "events": None if events is None else list(events), "description": description}
        return read(WebhookEndpoint, self._order.post(_PATH, body=body, key=idempotency_key))

    def list_webhook_endpoints(self) -> Several[WebhookEndpoint]:
        """All endpoints, newest first."""
        return read_all(WebhookEndpoint, self._order.get(_PATH))

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        """An endpoint as it stands."""
        return read(WebhookEndpoint, self._order.get(_PATH, endpoint_id))

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        """Forget an endpoint, and what waits for it."""
        self._order.delete(_PATH, endpoint_id)

    def rotate_webhook_secret(
        self, endpoint_id: str, *, overlap_seconds: int | None = None, idempotency_key: str | None = None
    ) -> WebhookEndpoint:
        """Make a new secret; for so many seconds, a day unless said otherwise, the old one signs besides it."""
        body = {"overlap_seconds": overlap_seconds}
        answer = self._order.post(_PATH, endpoint_id, "rotate-secret", body=body, key=idempotency_key)
        return read(WebhookEndpoint, answer)

    def enable_webhook_endpoint(self, endpoint_id: str, *, idempotency_key: str | None = None) -> WebhookEndpoint:
        """Send events again to an endpoint that is `disabled`, since it has answered 410."""
        return read(WebhookEndpoint, self._order.post(_PATH, endpoint_id, "enable", key=idempotency_key))

    def test_webhook_endpoint(self, endpoint_id: str, *, idempotency_key: str | None = None) -> WebhookDelivery:
        """Have an event `webhook.test` sent there."""
        return read(WebhookDelivery, self._order.post(_PATH, endpoint_id, "test", key=idempotency_key))

    def list_webhook_deliveries(
        self, endpoint_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> Iterator[WebhookDelivery]:
        """What was and is to be sent to an endpoint, all or what has this status; newest event first, read as needed.

        They come without their payload and attempts.
        """
        path = (_PATH, endpoint_id, "deliveries")
        return paging.every(WebhookDelivery, self._order, *path, status=status, limit=page_size)

    def get_webhook_delivery(self, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
        """A delivery, with its payload and each attempt."""
        return read(WebhookDelivery, self._order.get(_PATH, endpoint_id, "deliveries", delivery_id))

    def redeliver_webhook(
        self, endpoint_id: str, delivery_id: str, *, idempotency_key: str | None = None
    ) -> WebhookDelivery:
        """Send an event once more, under the same id, whatever has become of it."""
        path = (_PATH, endpoint_id, "deliveries", delivery_id, "redeliver")
        return read(WebhookDelivery, self._order.post(*path, key=idempotency_key))
