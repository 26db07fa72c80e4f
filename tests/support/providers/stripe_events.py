"""Events of Stripe, signed, and the settings of a payment service that receives them."""

from __future__ import annotations

import json
import time
from typing import Any

import requests
import stripe

from tests.support.pair import Pair
from tests.support.providers.worlds import StripeWorld

SECRET, OLD_SECRET = "whsec_of_these_tests", "whsec_of_last_year"


def settings(world: StripeWorld) -> dict[str, str]:
    """Return the environment of a payment service whose provider is this stand-in for Stripe."""
    return {
        "PROVIDER": "stripe",
        "STRIPE_API_KEY": "sk_test_events",
        "STRIPE_API_BASE": world.proxy.url,
        "STRIPE_WEBHOOK_SECRETS": f"{OLD_SECRET} {SECRET}",
        "PROVIDER_TIMEOUT": "5",
    }


def event(about: dict[str, Any], kind: str = "payment_intent.succeeded") -> bytes:
    """Return the body of an event about one of Stripe's objects."""
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": about}}).encode()


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    """Return the header with the signature of a body, made now or at another time."""
    when = int(at if at is not None else time.time())
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body.decode(), secret, when)}


def post_event(pair: Pair, body: bytes, headers: dict[str, str], provider: str = "stripe") -> requests.Response:
    """Send an event to payment."""
    return requests.post(f"{pair.payment.url}/v1/provider-events/{provider}", data=body, headers=headers, timeout=30)
