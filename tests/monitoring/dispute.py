"""A process of payment with Stripe as its provider that charges a customer and receives the event of the dispute."""

from __future__ import annotations

import os
import uuid

import payment
from tests.support.payment_bodies import wanted
from tests.support.providers.fake_stripe import StandIn
from tests.support.providers.stripe_events import SECRET, event, signed
from tests.support.settings import KEY


def main() -> None:
    """Count one disputed charge in the metrics of the service whose environment this process has."""
    with StandIn() as standin:
        stripe = {"STRIPE_API_KEY": "sk_test", "STRIPE_API_BASE": standin.url, "STRIPE_WEBHOOK_SECRETS": SECRET}
        os.environ.update({"PROVIDER": "stripe", **stripe})
        client = payment.create_app().test_client()
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": str(uuid.uuid4())}
        paid = client.post("/v1/payments", json=wanted(payment_method="pm_card_visa"), headers=headers).get_json()
        standin.disputed.add(paid["provider_reference"])
        charge = standin.intents[paid["provider_reference"]]["latest_charge"]
        body = event({"object": "dispute", "id": "dp_1", "charge": charge}, "charge.dispute.created")
        answer = client.post("/v1/provider-events/stripe", data=body, headers=signed(body))
        assert answer.status_code == 204, answer.get_data()


if __name__ == "__main__":
    main()
