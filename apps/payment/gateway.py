"""Calls to the order service, each with a deadline."""

from __future__ import annotations

import json
from collections.abc import Sequence

from chassis.messaging import signatures
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Remote


class OrderGateway(Remote):
    """The order service, over HTTP."""

    def __init__(self, url: str, secrets: Sequence[str], timeout: float) -> None:
        """The first of `secrets` signs the events. `timeout` is the longest time to wait for a response, in seconds."""
        super().__init__("order", url, {}, timeout)
        self._secrets = secrets

    def send(self, message: Message, timeout: float | None = None) -> None:
        """Post the event of an outbox row; the row's id is the event's `webhook-id`. Order ignores duplicates.

        Raises remote.Unreachable if it is not known whether order received it (sending again is safe), and
        remote.Refused.
        """
        body = json.dumps(message.payload).encode()
        signature = signatures.sign(self._secrets[0], message.id, body)
        self.post("/v1/payment-events", body, {**message.headers, **signature}, timeout)
