"""What is particular to Stripe: forgotten keys, a lagging search, pending refunds, changes in Stripe's dashboard."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import stripe
from msgspec import structs

from payment.ids import What, derive
from payment.model import EXPIRED_NOTE, Kind, Operation, Outcome, Result
from payment.providers import Hint, InvalidSignature, ProviderFault, may_have_forgotten
from payment.providers import stripe as stripe_module
from payment.providers.stripe import KEY_LIFE, SEARCH_AFTER, Stripe
from tests.support.providers.worlds import StripeWorld, aged, operation, resolve

HOUR = 3600.0


def opened(world: StripeWorld, kind: Kind = Kind.AUTHORIZE) -> str:
    outcome = world.provider.send(operation(kind, 1000, world.ok))
    assert outcome.reference
    return outcome.reference


def lose_answer(world: StripeWorld, wanted: Operation) -> None:
    with world.fault("answer"), pytest.raises(ProviderFault):
        world.provider.send(wanted)


def searched(world: StripeWorld) -> bool:
    return ("GET", "payment_intents/search") in world.standin.requests


@pytest.mark.parametrize("kind", [Kind.SALE, Kind.AUTHORIZE])
def test_a_charge_is_found_after_its_key_is_forgotten(stripe_world: StripeWorld, kind: Kind) -> None:
    wanted = aged(operation(kind, 1000, stripe_world.ok), 30 * HOUR)
    lose_answer(stripe_world, wanted)
    stripe_world.standin.index()
    stripe_world.standin.forget_keys()
    found = resolve(stripe_world.provider, wanted)
    assert (found.result, found.reference) == (Result.SUCCEEDED, "pi_1")
    assert stripe_world.done() == [(kind, 1000)]


def test_a_declined_charge_is_found_after_its_key_is_forgotten(stripe_world: StripeWorld) -> None:
    token, reason = stripe_world.declined
    wanted = aged(operation(Kind.SALE, 1000, token), 30 * HOUR)
    lose_answer(stripe_world, wanted)
    stripe_world.standin.index()
    stripe_world.standin.forget_keys()
    assert resolve(stripe_world.provider, wanted) == Outcome(Result.DECLINED, "pi_1", reason)
    assert len(stripe_world.standin.intents) == 1


def test_the_key_protects_an_operation_that_the_search_does_not_find_yet(stripe_world: StripeWorld) -> None:
    wanted = aged(
        operation(Kind.SALE, 1000, stripe_world.ok), 30 * HOUR
    )  # retried for a day; Stripe acted on the last attempt
    lose_answer(stripe_world, wanted)
    found = resolve(stripe_world.provider, wanted)
    assert searched(stripe_world)
    assert (found.result, found.reference) == (Result.SUCCEEDED, "pi_1")
    assert stripe_world.done() == [("sale", 1000)]


def test_a_recent_operation_is_sent_again_without_a_search(stripe_world: StripeWorld) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), SEARCH_AFTER / 2)
    lose_answer(stripe_world, wanted)
    assert resolve(stripe_world.provider, wanted).reference == "pi_1"
    assert not searched(stripe_world)


@pytest.mark.parametrize(("age", "is_sent_again"), [(KEY_LIFE - HOUR, True), (KEY_LIFE + HOUR, False)])
def test_if_the_search_fails_only_an_operation_whose_key_is_certainly_known_is_sent_again(
    stripe_world: StripeWorld, age: float, is_sent_again: bool
) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), age)
    stripe_world.proxy.mode = "refuse"
    if is_sent_again:
        assert stripe_world.provider.lookup(wanted) is None
    else:
        with pytest.raises(ProviderFault):
            stripe_world.provider.lookup(wanted)


@pytest.mark.parametrize(("kind", "amount"), [(Kind.CAPTURE, 400), (Kind.VOID, 1000), (Kind.REFUND, 1000)])
def test_a_refusal_caused_by_the_operations_own_earlier_success_is_a_success(
    stripe_world: StripeWorld, kind: Kind, amount: int
) -> None:
    reference = opened(stripe_world, Kind.SALE if kind is Kind.REFUND else Kind.AUTHORIZE)
    wanted = operation(kind, amount, stripe_world.ok, reference)
    lose_answer(stripe_world, wanted)
    done = stripe_world.done()
    stripe_world.standin.forget_keys()
    sent = stripe_world.provider.send(wanted)  # refused: charge_already_refunded, payment_intent_unexpected_state
    assert sent.result is Result.SUCCEEDED
    assert stripe_world.done() == done


def test_a_pending_refund_is_unknown_until_the_bank_decides(stripe_world: StripeWorld) -> None:
    reference = opened(stripe_world, Kind.SALE)
    stripe_world.standin.refund_status = "pending"
    wanted, other = (operation(Kind.REFUND, 500, stripe_world.ok, reference) for _ in range(2))
    for each in (wanted, other):
        assert stripe_world.provider.send(each).result is Result.UNKNOWN
        assert resolve(stripe_world.provider, each).result is Result.UNKNOWN
    refunds = list(stripe_world.standin.refunds.values())
    refunds[0]["status"] = "succeeded"
    refunds[1].update(status="failed", failure_reason="lost_or_stolen_card")
    assert resolve(stripe_world.provider, wanted) == Outcome(Result.SUCCEEDED, refunds[0]["id"])
    assert resolve(stripe_world.provider, other) == Outcome(Result.DECLINED, refunds[1]["id"], "lost_or_stolen_card")
    assert len(stripe_world.standin.refunds) == 2


def test_an_old_answer_kept_with_the_key_does_not_hide_a_later_success(stripe_world: StripeWorld) -> None:
    stripe_world.standin.sale_status = "processing"
    wanted = operation(Kind.SALE, 1000, stripe_world.ok)
    assert stripe_world.provider.send(wanted).result is Result.UNKNOWN
    stripe_world.standin.intents["pi_1"]["status"] = "succeeded"
    assert resolve(stripe_world.provider, wanted) == Outcome(Result.SUCCEEDED, "pi_1")


def test_an_authorization_canceled_by_stripe_is_void_and_cannot_be_captured(stripe_world: StripeWorld) -> None:
    reference = opened(stripe_world)
    stripe_world.standin.intents[reference].update(status="canceled", cancellation_reason="automatic")
    capture = stripe_world.provider.send(operation(Kind.CAPTURE, 1000, stripe_world.ok, reference))
    assert (capture.result, capture.reason) == (Result.DECLINED, "automatic")
    assert stripe_world.provider.send(operation(Kind.VOID, 1000, stripe_world.ok, reference)).result is Result.SUCCEEDED


@pytest.mark.parametrize("has_code", [True, False])
def test_a_declined_authorization_that_is_canceled_later_stays_declined(
    stripe_world: StripeWorld, has_code: bool
) -> None:
    """Its PaymentIntent has a charge, the declined one. Nothing was ever authorized, so nothing was released either."""
    wanted = operation(Kind.AUTHORIZE, 1000, "pm_card_chargeDeclined")
    declined = stripe_world.provider.send(wanted)
    assert (declined.result, declined.reference) == (Result.DECLINED, "pi_1")
    intent = stripe_world.standin.intents["pi_1"]
    intent.update(status="canceled", cancellation_reason="abandoned")
    if not has_code:
        intent["last_payment_error"].update(code=None, decline_code=None)
    stripe_world.standin.index()
    found = stripe_world.provider.lookup(structs.replace(wanted, reference="pi_1"))
    reason = "generic_decline" if has_code else "card_error"
    assert found == Outcome(Result.DECLINED, None, reason)
    (record,) = stripe_world.provider.records_of("demo", wanted.payment_id)
    assert (record.kind, record.outcome) == (Kind.AUTHORIZE, Outcome(Result.DECLINED, "pi_1", reason))


@pytest.mark.parametrize(("kind", "captured"), [(Kind.CAPTURE, 700), (Kind.VOID, 700), (Kind.VOID, 1000)])
def test_a_capture_in_stripes_dashboard_is_not_taken_for_an_operation(
    stripe_world: StripeWorld, kind: Kind, captured: int
) -> None:
    reference = opened(stripe_world)
    stripe_world.standin.intents[reference].update(status="succeeded", amount_received=captured)
    for ask in (stripe_world.provider.send, stripe_world.provider.lookup):
        outcome = ask(operation(kind, 1000, stripe_world.ok, reference))
        assert outcome == Outcome(Result.DECLINED, None, "captured_by_hand")


def test_a_void_that_meets_a_capture_by_another_operation_is_declined(stripe_world: StripeWorld) -> None:
    reference = opened(stripe_world)
    stripe_world.provider.send(operation(Kind.CAPTURE, 700, stripe_world.ok, reference))
    void = operation(Kind.VOID, 1000, stripe_world.ok, reference)
    assert stripe_world.provider.send(void) == Outcome(Result.DECLINED, None, "already_captured")


def test_an_expired_authorization_that_was_captured_by_hand_does_not_count_as_released(
    stripe_world: StripeWorld,
) -> None:
    reference = opened(stripe_world)
    stripe_world.standin.intents[reference].update(status="succeeded", amount_received=1000)
    void = structs.replace(operation(Kind.VOID, 1000, stripe_world.ok, reference), note=EXPIRED_NOTE)
    for ask in (stripe_world.provider.send, stripe_world.provider.lookup):
        with pytest.raises(ProviderFault):
            ask(void)


def test_a_capture_of_another_amount_under_the_same_id_is_a_fault(stripe_world: StripeWorld) -> None:
    """Payment's database has forgotten the first request, and Stripe its key."""
    reference = opened(stripe_world)
    wanted = operation(Kind.CAPTURE, 700, stripe_world.ok, reference)
    stripe_world.provider.send(wanted)
    with pytest.raises(ProviderFault):
        stripe_world.provider.lookup(structs.replace(wanted, amount=600))


def test_an_authorization_whose_answer_was_lost_was_made_although_somebody_captures_it(
    stripe_world: StripeWorld,
) -> None:
    wanted = aged(operation(Kind.AUTHORIZE, 1000, stripe_world.ok), HOUR)
    lose_answer(stripe_world, wanted)
    stripe_world.standin.intents["pi_1"].update(status="succeeded", amount_received=700, amount_capturable=0)
    stripe_world.standin.index()
    assert stripe_world.provider.lookup(wanted) == Outcome(Result.SUCCEEDED, "pi_1")


def test_a_sale_under_the_same_id_is_not_taken_for_an_authorization(stripe_world: StripeWorld) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), 30 * HOUR)
    stripe_world.provider.send(wanted)
    stripe_world.standin.index()
    with pytest.raises(ProviderFault):
        stripe_world.provider.lookup(structs.replace(wanted, kind=Kind.AUTHORIZE))


@pytest.mark.parametrize(
    ("status", "failure", "expected"),
    [
        ("processing", None, (Result.UNKNOWN, None)),
        ("requires_confirmation", None, (Result.UNKNOWN, None)),
        ("requires_payment_method", None, (Result.UNKNOWN, None)),
        ("requires_payment_method", {"type": "card_error", "code": "expired_card"}, (Result.DECLINED, "expired_card")),
        ("requires_payment_method", {"type": "card_error", "code": None}, (Result.DECLINED, "card_error")),
        ("requires_action", None, (Result.DECLINED, "authentication_required")),
        ("canceled", None, (Result.DECLINED, "canceled")),
        ("something_new", None, (Result.UNKNOWN, None)),
    ],
)
def test_the_status_of_a_payment_intent_determines_the_outcome(
    stripe_world: StripeWorld, status: str, failure: dict[str, Any] | None, expected: tuple[Result, str | None]
) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), HOUR)
    stripe_world.provider.send(wanted)
    stripe_world.standin.intents["pi_1"].update(status=status, last_payment_error=failure)
    stripe_world.standin.index()
    outcome = stripe_world.provider.lookup(wanted)
    assert outcome is not None
    assert (outcome.result, outcome.reason if outcome.result is Result.DECLINED else None) == expected


def test_an_operation_with_changed_content_under_the_same_id_is_a_fault(stripe_world: StripeWorld) -> None:
    wanted = operation(Kind.SALE, 1000, stripe_world.ok)
    stripe_world.provider.send(wanted)
    with pytest.raises(ProviderFault, match="IdempotencyError"):
        stripe_world.provider.send(structs.replace(wanted, amount=2000))


@pytest.mark.parametrize("kind", [Kind.SALE, Kind.AUTHORIZE])
@pytest.mark.parametrize("change", [{"amount": 2000}, {"currency": "USD"}], ids=str)
def test_what_stripe_holds_for_another_request_under_the_same_id_is_a_fault(
    stripe_world: StripeWorld, kind: Kind, change: dict[str, Any]
) -> None:
    """Payment's database has forgotten the first request, and Stripe its key."""
    wanted = aged(operation(kind, 1000, stripe_world.ok), 30 * HOUR)
    stripe_world.provider.send(wanted)
    stripe_world.standin.index()
    stripe_world.standin.forget_keys()
    with pytest.raises(ProviderFault):
        stripe_world.provider.lookup(structs.replace(wanted, **change))
    assert stripe_world.provider.lookup(wanted) == Outcome(Result.SUCCEEDED, "pi_1")


def test_an_authorization_of_a_part_is_not_taken_for_one_of_all(stripe_world: StripeWorld) -> None:
    wanted = operation(Kind.AUTHORIZE, 1000, stripe_world.ok)
    reference = stripe_world.provider.send(wanted).reference
    stripe_world.standin.intents["pi_1"]["amount_capturable"] = 700
    with pytest.raises(ProviderFault):
        stripe_world.provider.lookup(structs.replace(wanted, reference=reference))


def test_a_card_that_requires_authentication_is_declined(stripe_world: StripeWorld) -> None:
    outcome = stripe_world.provider.send(operation(Kind.SALE, 1000, "pm_card_authenticationRequired"))
    assert (outcome.result, outcome.reason) == (Result.DECLINED, "authentication_required")


def test_a_missing_answer_is_a_fault_after_the_timeout(stripe_world: StripeWorld) -> None:
    provider = Stripe("sk_test_contract", api_base=stripe_world.proxy.url, timeout=0.3)
    stripe_world.proxy.mode = "swallow_response"
    began = time.monotonic()
    with pytest.raises(ProviderFault):
        provider.send(operation(Kind.SALE, 1000, stripe_world.ok))
    assert 0.25 < time.monotonic() - began < 5.0
    assert stripe_world.done() == [("sale", 1000)]


def test_a_slow_answer_is_awaited(stripe_world: StripeWorld) -> None:
    stripe_world.proxy.delay(0.3)
    assert stripe_world.provider.send(operation(Kind.SALE, 1000, stripe_world.ok)).result is Result.SUCCEEDED


@pytest.mark.parametrize(("currency", "amount", "sent"), [("JPY", 500, 500), ("ISK", 5, 500), ("KWD", 5120, 5120)])
def test_amounts_are_sent_in_stripes_units(stripe_world: StripeWorld, currency: str, amount: int, sent: int) -> None:
    wanted = operation(Kind.SALE, amount, stripe_world.ok, currency=currency)
    assert stripe_world.provider.send(wanted).result is Result.SUCCEEDED
    intent = stripe_world.standin.intents["pi_1"]
    assert (intent["amount_received"], intent["currency"]) == (sent, currency.lower())


def test_an_amount_that_stripe_cannot_represent_is_declined_and_never_sent(stripe_world: StripeWorld) -> None:
    outcome = stripe_world.provider.send(operation(Kind.SALE, 5125, stripe_world.ok, currency="KWD"))
    assert (outcome.result, outcome.reason) == (Result.DECLINED, "amount_not_representable")
    assert stripe_world.standin.requests == []


ID = "0198c0de-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("about", "hint"),
    [
        ({"object": "payment_intent", "id": "pi_1", "metadata": {"tandem_operation": ID}}, Hint(ID, "pi_1")),
        ({"object": "payment_intent", "id": "pi_1", "metadata": {}}, Hint(None, "pi_1")),
        ({"object": "payment_intent", "id": "pi_1", "metadata": {"tandem_operation": "x"}}, Hint(None, "pi_1")),
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "metadata": {}}, Hint(None, "pi_1")),
        (
            {"object": "refund", "id": "re_1", "payment_intent": "pi_1", "metadata": {"tandem_operation": ID}},
            Hint(ID, "pi_1"),
        ),
        ({"object": "refund", "id": "re_1", "payment_intent": None, "metadata": None}, Hint(None, None)),
        ({"object": "customer", "id": "cus_1"}, Hint(None, None)),
    ],
)
def test_a_signed_event_names_the_operation_and_the_payment(about: dict[str, Any], hint: Hint) -> None:
    provider = Stripe("sk_test_events", webhook_secrets=("whsec_old", "whsec_new"))
    body = json.dumps({"id": "evt_1", "object": "event", "type": "some.thing", "data": {"object": about}})
    signature = stripe.WebhookSignature.generate_signature_header(body, "whsec_new")
    assert provider.verify_event({"Stripe-Signature": signature}, body.encode()) == hint
    with pytest.raises(InvalidSignature):
        Stripe("sk_test_events").verify_event({"Stripe-Signature": signature}, body.encode())


@pytest.mark.parametrize("body", ["{}", "[]", "null", "9" * 5000, "[" * 100_000, '{"a":' * 40_000 + "1" + "}" * 40_000])
def test_a_signed_body_that_is_no_event_is_a_value_error(body: str) -> None:
    signature = stripe.WebhookSignature.generate_signature_header(body, "whsec_new")
    with pytest.raises(ValueError, match="."):
        Stripe("sk_test_events", webhook_secrets=("whsec_new",)).verify_event(
            {"Stripe-Signature": signature}, body.encode()
        )


def charged_twice(world: StripeWorld) -> Operation:
    """Return a sale that Stripe has carried out twice: it had forgotten the key."""
    wanted = aged(operation(Kind.SALE, 1000, world.ok), 30 * HOUR)
    for _ in range(2):
        world.provider.send(wanted)
        world.standin.forget_keys()
    world.standin.index()
    return wanted


def test_a_second_charge_of_an_operation_is_reported(stripe_world: StripeWorld) -> None:
    wanted = charged_twice(stripe_world)
    with mock.patch.object(stripe_module, "log") as log:
        assert stripe_world.provider.lookup(wanted) == Outcome(Result.SUCCEEDED, "pi_1")
    ((event,), told) = log.error.call_args
    assert (event, told["acts"]) == ("provider_acted_twice", ["pi_1", "pi_2"])
    records = stripe_world.provider.records_of("demo", wanted.payment_id)
    assert [(record.operation_id, record.charge) for record in records] == [(wanted.id, "pi_1"), (wanted.id, "pi_2")]


def test_of_several_attempts_at_stripe_the_one_that_holds_money_counts(stripe_world: StripeWorld) -> None:
    wanted = charged_twice(stripe_world)
    stripe_world.standin.intents["pi_1"].update(status="canceled")
    assert stripe_world.provider.lookup(wanted) == Outcome(Result.SUCCEEDED, "pi_2")


@pytest.mark.parametrize("status", ["succeeded", "pending"])
def test_of_several_refunds_of_an_operation_the_one_that_returns_money_counts(
    stripe_world: StripeWorld, status: str
) -> None:
    wanted = operation(Kind.REFUND, 300, stripe_world.ok, opened(stripe_world, Kind.SALE))
    first = stripe_world.provider.send(wanted).reference or ""
    stripe_world.standin.refunds[first]["status"] = "failed"
    assert stripe_world.provider.lookup(wanted) == Outcome(Result.DECLINED, first, "failed")
    stripe_world.standin.forget_keys()
    stripe_world.standin.refund_status = status
    second = stripe_world.provider.send(wanted).reference
    assert second != first
    with mock.patch.object(stripe_module, "log") as log:
        found = stripe_world.provider.lookup(wanted)
    assert found is not None
    assert (found.reference, found.result is Result.DECLINED) == (second, False)
    assert not log.error.called  # the money is returned once: the first refund has failed


def test_a_second_refund_of_an_operation_is_reported(stripe_world: StripeWorld) -> None:
    wanted = operation(Kind.REFUND, 300, stripe_world.ok, opened(stripe_world, Kind.SALE))
    for _ in range(2):
        stripe_world.provider.send(wanted)
        stripe_world.standin.forget_keys()
    with mock.patch.object(stripe_module, "log") as log:
        stripe_world.provider.lookup(wanted)
    ((event,), told) = log.error.call_args
    assert (event, len(told["acts"])) == ("provider_acted_twice", 2)


@pytest.mark.parametrize("key", ["order-17", "274ac4f1-60c3-46da-8fcf-bb2b861880be"])
def test_a_charge_whose_age_is_unknown_is_searched_for(stripe_world: StripeWorld, key: str) -> None:
    """Payment's database may have been restored since it was made, and Stripe may have forgotten its key."""
    wanted = structs.replace(operation(Kind.SALE, 1000, stripe_world.ok), id=derive("demo", key, What.OPERATION))
    assert may_have_forgotten(stripe_world.provider, wanted)
    assert stripe_world.provider.lookup(wanted) is None
    stripe_world.provider.send(wanted)
    stripe_world.standin.index()
    stripe_world.standin.forget_keys()
    assert stripe_world.provider.lookup(wanted) == Outcome(Result.SUCCEEDED, "pi_1")


@pytest.mark.parametrize(("age", "forgotten"), [(0.0, False), (KEY_LIFE - 60, False), (KEY_LIFE + 60, True)])
def test_a_request_that_is_older_than_stripes_memory_is_looked_up_first(
    stripe_world: StripeWorld, age: float, forgotten: bool
) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), age)
    assert may_have_forgotten(stripe_world.provider, wanted) == forgotten


def test_a_charge_with_a_known_reference_is_read_without_the_search_which_an_account_may_not_have(
    stripe_world: StripeWorld,
) -> None:
    wanted = operation(Kind.AUTHORIZE, 1000, stripe_world.ok)
    reference = stripe_world.provider.send(wanted).reference
    assert stripe_world.provider.records_of("demo", wanted.payment_id) == [], "the search does not find it yet"
    (record,) = stripe_world.provider.records_of("demo", wanted.payment_id, reference)
    assert (record.operation_id, record.outcome.result) == (wanted.id, Result.SUCCEEDED)
    assert stripe_world.provider.records_of("demo", wanted.payment_id, "pi_gone") == []


def test_what_was_done_by_hand_is_recorded_without_a_payment(stripe_world: StripeWorld) -> None:
    reference = opened(stripe_world)
    stripe_world.standin.intents[reference].update(status="succeeded", amount_received=700, metadata={})
    now = datetime.now(UTC)
    records = list(stripe_world.provider.records(now - timedelta(days=1), now + timedelta(days=1)))
    assert [(record.kind, record.merchant, record.payment_id, record.operation_id) for record in records] == [
        (Kind.AUTHORIZE, None, None, None),
        (Kind.CAPTURE, None, None, None),
    ]


def test_records_that_stripe_does_not_list_are_a_fault(stripe_world: StripeWorld) -> None:
    stripe_world.proxy.mode = "refuse"
    with pytest.raises(ProviderFault):
        list(stripe_world.provider.records(datetime.now(UTC), datetime.now(UTC)))
    with pytest.raises(ProviderFault):
        stripe_world.provider.records_of("demo", ID)
