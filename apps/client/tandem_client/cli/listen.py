"""`tandem listen`: events of a Tandem anywhere, posted to a URL on this machine as webhooks."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import datetime, timezone
from typing import Any, get_args

import click
import requests
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from tandem_client.attempt import check_url
from tandem_client.cli.events import follow_events
from tandem_client.cli.output import EVENT_WIDTH, local_time, warn
from tandem_client.cli.session import Session, pass_session
from tandem_client.cli.settings import time
from tandem_client.model import FeedEvent
from tandem_client.values import WebhookEventType

TIMEOUT = 10
"""Seconds that a receiver has to respond, as for a webhook."""

_NOT_BY_DEFAULT = {"order.placed", "order.canceling", "order.updated"}
_TYPES = click.Choice(get_args(WebhookEventType))


def _check_url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return check_url(value)
    except ValueError as error:
        raise click.BadParameter("a URL such as http://localhost:5000/hook") from error


def _check_secret(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    secret = value or f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    try:
        Webhook(secret)
    except (ValueError, RuntimeError, EmptyWebhookSecretError) as error:
        raise click.BadParameter("a secret is whsec_ followed by base64") from error
    return secret


@click.command()
@click.option("--forward-to", "url", required=True, callback=_check_url, metavar="URL", help="Where to post events.")
@click.option("--event", "kinds", type=_TYPES, multiple=True, help="Only this type; can be repeated.")
@click.option("--since", type=time, metavar="TIME", default="now", help="Begin earlier: a time, or 10m, 2h, 7d.")
@click.option(
    "--secret",
    envvar="TANDEM_WEBHOOK_SECRET",
    callback=_check_secret,
    help="The secret to sign with, better set as TANDEM_WEBHOOK_SECRET. Default: a new one.",
)
@pass_session
def listen(session: Session, url: str, kinds: tuple[str, ...], since: datetime, secret: str) -> None:
    """Post events to a URL on this machine, signed as webhooks are.

    The events come from the feed, so Tandem need not reach this machine. Each one is posted once; --since posts earlier
    ones again. Without --event, the types are those of an endpoint that is registered without `events`.
    """
    chosen = frozenset(kinds) or frozenset(get_args(WebhookEventType)) - _NOT_BY_DEFAULT
    session.client  # noqa: B018 - a missing setting is reported first
    warn(f"Forwarding events to {url} until Ctrl-C. The webhook secret is {secret}")
    with requests.Session() as receiver:
        receiver.trust_env = False  # no proxy, and no password of a .netrc
        for event in follow_events(session.client, None, since):
            if event.type in chosen:
                _report(session, event, *forward(receiver, url, secret, event))


def forward(receiver: requests.Session, url: str, secret: str, event: FeedEvent) -> tuple[int | None, str | None]:
    """Post an event as a webhook. Return the status code of the response, or the reason why there was no response."""
    body = webhook_body(event)
    now = datetime.now(timezone.utc)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event.id, now, body),
    }
    try:
        response = receiver.post(
            url, data=body.encode(), headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
        )
    except requests.ConnectionError:
        return None, "nothing listens there"
    except requests.RequestException as error:
        return None, type(error).__name__
    response.close()
    return response.status_code, None


def webhook_body(event: FeedEvent) -> str:
    """Return the JSON body of the webhook for an event of the feed."""
    received = event.answer.body
    body: dict[str, Any] = {"type": event.type, "timestamp": received["created_at"], "data": received["data"]}
    if received["refund"] is not None:
        body["refund"] = received["refund"]
    return json.dumps(body, separators=(",", ":"))


def _report(session: Session, event: FeedEvent, status: int | None, error: str | None) -> None:
    if session.output.as_table:
        kind = f"{event.type:<{EVENT_WIDTH}}"
        session.output.line(local_time(event.created_at), kind, event.order_id, "->", status or error)
    else:
        result = {"id": event.id, "type": event.type, "order_id": event.order_id, "status_code": status, "error": error}
        session.output.json(result)
