"""Each rule for Stripe's errors, with a body as Stripe sends it, through the library and the provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
import responses
import stripe
import structlog
from msgspec import structs

from payment.model import EXPIRED_NOTE, Kind, Outcome, Result, settle
from payment.providers import ProviderFault
from payment.providers.stripe import Stripe
from payment.providers.stripe_errors import ANY, RULES, Rule, Verdict, classify
from tests.support.providers.worlds import operation

API = "https://api.stripe.com/v1"
CARD = {"type": "card_error", "message": "Your card was declined.", "charge": "ch_1"}
INVALID = {"type": "invalid_request_error"}
PAYMENT = "0198c0de-0000-7000-8000-000000000002"

# By the rule's error class, code and parameter: the operation, the status code, and the error as Stripe sends it.
Recorded = tuple[Kind, int, dict[str, Any]]


def _invalid(kind: Kind, code: str | None, message: str, param: str | None = None, status: int = 400) -> Recorded:
    members = {"code": code, "param": param, "message": message}
    return kind, status, {**INVALID, **{name: value for name, value in members.items() if value is not None}}


_TOO_LATE = "(uncaptured) The charge cannot be captured because the charge has expired."
RECORDED: dict[tuple[str, str | None, str | None], Recorded] = {
    ("CardError", ANY, ANY): (
        Kind.SALE,
        402,
        {
            **CARD,
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "doc_url": "https://stripe.com/docs/error-codes/card-declined",
            "payment_intent": {"id": "pi_2", "object": "payment_intent", "status": "requires_payment_method"},
        },
    ),
    ("RateLimitError", ANY, ANY): _invalid(
        Kind.SALE, "lock_timeout", "This object cannot be accessed right now", status=429
    ),
    ("AuthenticationError", ANY, ANY): _invalid(
        Kind.SALE, None, "Invalid API Key provided: sk_test_****4242", status=401
    ),
    ("PermissionError", ANY, ANY): _invalid(
        Kind.SALE, None, "The provided key does not have the required permissions", status=403
    ),
    ("IdempotencyError", ANY, ANY): (
        Kind.SALE,
        400,
        {
            "type": "idempotency_error",
            "message": "Keys for idempotent requests can only be used with the same parameters",
        },
    ),
    ("APIError", ANY, ANY): (Kind.SALE, 500, {"type": "api_error", "message": "An unknown error occurred"}),
    ("InvalidRequestError", "payment_intent_unexpected_state", ANY): _invalid(
        Kind.CAPTURE,
        "payment_intent_unexpected_state",
        "This PaymentIntent could not be captured because it has a status of canceled.",
    ),
    ("InvalidRequestError", "charge_already_captured", ANY): _invalid(
        Kind.CAPTURE, "charge_already_captured", "Charge ch_1 has already been captured."
    ),
    ("InvalidRequestError", "charge_already_refunded", ANY): _invalid(
        Kind.REFUND, "charge_already_refunded", "Charge ch_1 has already been refunded."
    ),
    ("InvalidRequestError", "capture_charge_authorization_expired", ANY): _invalid(
        Kind.CAPTURE, "capture_charge_authorization_expired", _TOO_LATE
    ),
    ("InvalidRequestError", "charge_expired_for_capture", ANY): _invalid(
        Kind.CAPTURE, "charge_expired_for_capture", _TOO_LATE
    ),
    ("InvalidRequestError", "charge_disputed", ANY): _invalid(
        Kind.REFUND, "charge_disputed", "Charge ch_1 has been charged back; cannot issue a refund."
    ),
    ("InvalidRequestError", "charge_not_refundable", ANY): _invalid(
        Kind.REFUND, "charge_not_refundable", "Charge ch_1 cannot be refunded."
    ),
    ("InvalidRequestError", "refund_disputed_payment", ANY): _invalid(
        Kind.REFUND, "refund_disputed_payment", "This payment is disputed and cannot be refunded."
    ),
    ("InvalidRequestError", "balance_insufficient", ANY): _invalid(
        Kind.REFUND, "balance_insufficient", "Your balance is not sufficient for this refund."
    ),
    ("InvalidRequestError", "insufficient_funds", ANY): _invalid(
        Kind.REFUND, "insufficient_funds", "Insufficient funds in your Stripe balance to refund this amount."
    ),
    ("InvalidRequestError", "amount_too_large", ANY): _invalid(
        Kind.SALE, "amount_too_large", "Amount must be no more than €999,999.99", "amount"
    ),
    ("InvalidRequestError", "amount_too_small", ANY): _invalid(
        Kind.SALE, "amount_too_small", "Amount must be at least €0.50 eur", "amount"
    ),
    ("InvalidRequestError", "charge_exceeds_source_limit", ANY): _invalid(
        Kind.SALE, "charge_exceeds_source_limit", "This charge would exceed the rolling limit of the source."
    ),
    ("InvalidRequestError", "charge_exceeds_transaction_limit", ANY): _invalid(
        Kind.SALE, "charge_exceeds_transaction_limit", "This charge exceeds the limit of a transaction."
    ),
    ("InvalidRequestError", "invalid_charge_amount", ANY): _invalid(
        Kind.SALE, "invalid_charge_amount", "The amount is invalid.", "amount"
    ),
    ("InvalidRequestError", "expired_payment_method", ANY): _invalid(
        Kind.SALE, "expired_payment_method", "This payment method has expired."
    ),
    ("InvalidRequestError", "payment_intent_incompatible_payment_method", ANY): _invalid(
        Kind.SALE, "payment_intent_incompatible_payment_method", "The PaymentIntent does not allow this type."
    ),
    ("InvalidRequestError", "payment_method_currency_mismatch", ANY): _invalid(
        Kind.SALE, "payment_method_currency_mismatch", "The payment method does not support eur."
    ),
    ("InvalidRequestError", "payment_method_invalid_parameter", ANY): _invalid(
        Kind.SALE, "payment_method_invalid_parameter", "A parameter of the payment method is invalid."
    ),
    ("InvalidRequestError", "payment_method_not_available", ANY): _invalid(
        Kind.SALE, "payment_method_not_available", "The payment processor is not available for this method."
    ),
    ("InvalidRequestError", "payment_method_restricted", ANY): _invalid(
        Kind.SALE, "payment_method_restricted", "The payment method may not be used here."
    ),
    ("InvalidRequestError", "payment_method_unactivated", ANY): _invalid(
        Kind.SALE, "payment_method_unactivated", "This type of payment method is not activated for your account."
    ),
    ("InvalidRequestError", "payment_method_unexpected_state", ANY): _invalid(
        Kind.SALE, "payment_method_unexpected_state", "The payment method is not in a state to be used."
    ),
    ("InvalidRequestError", "payment_method_unsupported_type", ANY): _invalid(
        Kind.SALE, "payment_method_unsupported_type", "This API does not support payment methods of this type."
    ),
    ("InvalidRequestError", "token_already_used", ANY): _invalid(
        Kind.SALE, "token_already_used", "You cannot use a Stripe token more than once."
    ),
    ("InvalidRequestError", ANY, "payment_method"): _invalid(
        Kind.SALE, "resource_missing", "No such PaymentMethod: 'pm_ok'", "payment_method"
    ),
    ("InvalidRequestError", ANY, "currency"): _invalid(Kind.SALE, None, "Invalid currency: xts.", "currency"),
    ("InvalidRequestError", ANY, "amount"): _invalid(
        Kind.REFUND, None, "Refund amount (€3.00) is greater than unrefunded amount on charge (€1.00)", "amount"
    ),
    ("InvalidRequestError", ANY, "amount_to_capture"): _invalid(
        Kind.CAPTURE, None, "The amount to capture exceeds the authorized amount.", "amount_to_capture"
    ),
    ("InvalidRequestError", "resource_missing", ANY): _invalid(
        Kind.CAPTURE, "resource_missing", "No such payment_intent: 'pi_1'", "intent", 404
    ),
    ("InvalidRequestError", None, None): _invalid(
        Kind.SALE,
        None,
        "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment. "
        "It may not be used again.",
    ),
    ("InvalidRequestError", ANY, ANY): _invalid(
        Kind.SALE,
        "parameter_unknown",
        "Received unknown parameter: allowed_payment_method_types",
        "allowed_payment_method_types",
    ),
}
# The verdicts other than a decline, written down here again, independently of the rules.
NOT_DECLINED = {
    ("RateLimitError", ANY, ANY): Verdict.LATER,
    ("APIConnectionError", ANY, ANY): Verdict.LATER,
    ("APIError", ANY, ANY): Verdict.LATER,
    ("AuthenticationError", ANY, ANY): Verdict.OPERATOR,
    ("PermissionError", ANY, ANY): Verdict.OPERATOR,
    ("IdempotencyError", ANY, ANY): Verdict.OPERATOR,
    ("InvalidRequestError", "payment_intent_unexpected_state", ANY): Verdict.STATE,
    ("InvalidRequestError", "charge_already_captured", ANY): Verdict.STATE,
    ("InvalidRequestError", "charge_already_refunded", ANY): Verdict.STATE,
    ("InvalidRequestError", "resource_missing", ANY): Verdict.OPERATOR,
    ("InvalidRequestError", None, None): Verdict.REFUSED,
    ("InvalidRequestError", ANY, ANY): Verdict.OPERATOR,
    ("StripeError", ANY, ANY): Verdict.OPERATOR,
}
NOT_BY_HTTP = {("APIConnectionError", ANY, ANY), ("StripeError", ANY, ANY)}
"""The rules for errors that are not an answer; they have their own tests."""


def key(rule: Rule) -> tuple[str, str | None, str | None]:
    return rule.error.__name__, rule.code, rule.param


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    """Stripe with a PaymentIntent that is not captured yet and has no refunds."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
        intent = {"id": "pi_1", "object": "payment_intent", "status": "requires_capture", "metadata": {}}
        api.get(f"{API}/payment_intents/pi_1", json=intent)
        api.get(f"{API}/refunds", json={"object": "list", "data": [], "has_more": False, "url": "/v1/refunds"})
        yield api


def send(kind: Kind) -> Outcome:
    reference = None if kind in (Kind.SALE, Kind.AUTHORIZE) else "pi_1"
    return Stripe("sk_test_table").send(operation(kind, 1000, "pm_card_visa", reference))


def answer(api: responses.RequestsMock, status: int, **body: Any) -> None:
    api.post(re.compile(f"{API}/.*"), status=status, headers={"Request-Id": "req_1"}, **body)


def test_every_rule_has_a_recorded_error() -> None:
    rules = [key(rule) for rule in RULES]
    assert len(set(rules)) == len(rules), "two rules match the same errors"
    assert set(rules) == set(RECORDED) | NOT_BY_HTTP


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if key(rule) not in NOT_BY_HTTP], ids=lambda rule: "-".join(map(str, key(rule)))
)
def test_the_recorded_error_of_a_rule_has_the_expected_outcome(api: responses.RequestsMock, rule: Rule) -> None:
    kind, status, error = RECORDED[key(rule)]
    answer(api, status, json={"error": error})
    with structlog.testing.capture_logs() as logs:
        try:
            outcome = send(kind)
        except ProviderFault as fault:
            outcome = Outcome(Result.UNKNOWN, None, str(fault))
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    reference = error.get("payment_intent", {}).get("id")
    declined = Outcome(
        Result.DECLINED, reference, error.get("decline_code") or error.get("code") or f"invalid_{error.get('param')}"
    )
    match NOT_DECLINED.get(key(rule), Verdict.DECLINED):
        case Verdict.DECLINED:
            assert (outcome, errors) == (declined, [])
            assert outcome.reason
        case Verdict.REFUSED:
            assert outcome == Outcome(Result.DECLINED, None, "invalid_request")
            assert len(errors) == 1
        case Verdict.STATE:  # the lookup finds it not done; only a refund is declined then
            assert (outcome if kind is Kind.REFUND else outcome.result) == (
                declined if kind is Kind.REFUND else Result.UNKNOWN
            )
        case Verdict.LATER:
            assert (outcome.result, errors) == (Result.UNKNOWN, [])
            assert "req_1" in str(outcome.reason)
        case Verdict.OPERATOR:
            assert outcome.result is Result.UNKNOWN
            assert "req_1" in str(outcome.reason)
            assert len(errors) == 1
    posts = [call for call in api.calls if call.request.method == "POST"]
    assert len(posts) == 1, "the library retried a request by itself"


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ConnectTimeout("no route"),
        requests.exceptions.ReadTimeout("no answer"),
        requests.exceptions.ConnectionError("reset"),
        requests.exceptions.SSLError("wrong certificate"),
        requests.exceptions.ChunkedEncodingError("broken off"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_an_answer_the_outcome_is_unknown(api: responses.RequestsMock, error: Exception) -> None:
    answer(api, 200, body=error)
    with structlog.testing.capture_logs() as logs, pytest.raises(ProviderFault, match="APIConnectionError"):
        send(Kind.SALE)
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@pytest.mark.parametrize("status", [409, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'{"error": {"code": "idempotency_key_in_use"}}'])
def test_after_a_server_error_the_outcome_is_unknown_whatever_its_body(
    api: responses.RequestsMock, status: int, body: bytes
) -> None:
    answer(api, status, body=body)
    with pytest.raises(ProviderFault):
        send(Kind.SALE)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"object": "payment_intent", "id": "pi_1"}'])
@pytest.mark.parametrize("kind", Kind)
def test_after_an_unreadable_success_the_outcome_is_unknown(
    api: responses.RequestsMock, kind: Kind, body: bytes
) -> None:
    answer(api, 200, body=body)
    try:
        outcome = send(kind)
    except ProviderFault:
        return
    assert outcome.result is Result.UNKNOWN


def test_a_404_without_a_code_is_not_a_decline(api: responses.RequestsMock) -> None:
    answer(api, 404, json={"error": {**INVALID, "message": "Unrecognized request URL (POST: /v1/payment_intents)."}})
    with pytest.raises(ProviderFault):
        send(Kind.SALE)


@pytest.mark.parametrize("error", [stripe.StripeError("new"), RuntimeError("a bug"), KeyError("id")], ids=repr)
def test_an_unforeseen_error_is_never_a_decline(error: Exception) -> None:
    with (
        mock.patch.object(stripe.RequestsClient, "request_with_retries", side_effect=error),
        structlog.testing.capture_logs() as logs,
        pytest.raises(ProviderFault),
    ):
        send(Kind.SALE)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["provider_needs_attention"]


def test_error_classes_for_other_apis_are_never_declines() -> None:
    listed = {rule.error for rule in RULES if rule.error is not stripe.StripeError}
    others = [each for each in _subclasses(stripe.StripeError) if not issubclass(each, tuple(listed))]
    assert others, "the library has no such classes any more: delete this test"
    for other in others:
        error = other.__new__(other)
        stripe.StripeError.__init__(error, "?")
        assert classify(error) is Verdict.OPERATOR


def _subclasses(of: type[stripe.StripeError]) -> list[type[stripe.StripeError]]:
    return [each for direct in of.__subclasses__() for each in [direct, *_subclasses(direct)]]


def test_every_code_of_the_rules_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "providers.md").read_text()
    assert [rule.code for rule in RULES if rule.code not in (ANY, None) and f"`{rule.code}`" not in page] == []


@pytest.mark.parametrize("kind", [Kind.SALE, Kind.AUTHORIZE])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {**INVALID, "message": "refused"}),
        (400, {**INVALID, "code": "payment_method_restricted", "message": "refused"}),
        (402, {**CARD, "code": "card_declined"}),
    ],
)
def test_an_error_of_reading_what_stripe_has_begun_is_never_a_decline(
    kind: Kind, status: int, error: dict[str, Any]
) -> None:
    with responses.RequestsMock() as api:
        begun = {"id": "pi_2", "object": "payment_intent", "status": "processing", "metadata": {}}
        answer(api, 200, json={**begun, "last_payment_error": None})
        api.get(f"{API}/payment_intents/pi_2", status=status, json={"error": error})
        with pytest.raises(ProviderFault):
            send(kind)


def test_a_refused_void_does_not_end_an_expired_authorization_that_stripe_still_holds(
    api: responses.RequestsMock,
) -> None:
    answer(api, 400, json={"error": {**INVALID, "message": "refused"}})
    void = operation(Kind.VOID, 1000, "pm_card_visa", "pi_1")
    assert settle(void, Stripe("sk_test_table").send(void)).status is None  # it stays authorized
    with pytest.raises(ProviderFault):
        Stripe("sk_test_table").send(structs.replace(void, note=EXPIRED_NOTE))


@pytest.mark.parametrize("status", [400, 402])
@pytest.mark.parametrize(
    "error",
    [{}, {"message": "Bad request"}, {"type": "api_error"}, {"type": "idempotency_error"}, {"param": "amount"}],
    ids=str,
)
def test_only_a_refusal_of_stripe_itself_is_a_decline(
    api: responses.RequestsMock, status: int, error: dict[str, Any]
) -> None:
    """A proxy may answer the second attempt of a charge that Stripe has carried out."""
    answer(api, status, json={"error": error})
    with pytest.raises(ProviderFault):
        send(Kind.SALE)


@pytest.mark.parametrize(
    "body",
    [
        '{"object": "list", "data": [], "has_more": true, "url": "/v1/x"}',
        '{"object": "list", "has_more": false, "data": [{"id": "pi_1", "x": ' + "[" * 500 + "]" * 500 + "}]}",
        '{"object": "list", "has_more": false, "data": [{"id": "pi_1", "created": 1e300}]}',
        '{"object": "list", "data": null, "has_more": false}',
        "[]",
        "<html>",
    ],
    ids=lambda body: body[:50],
)
def test_records_that_cannot_be_read_are_a_fault(body: str) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as api:
        api.get(re.compile(f"{API}/.*"), body=body)
        provider, now = Stripe("sk_test_table"), datetime.now(UTC)
        with pytest.raises(ProviderFault):
            list(provider.records(now, now))
        with pytest.raises(ProviderFault):
            provider.records_of("demo", PAYMENT)


def test_pages_that_repeat_themselves_are_a_fault_and_not_read_for_ever(api: responses.RequestsMock) -> None:
    refund = {"id": "re_1", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded"}
    refund |= {"payment_intent": "pi_1", "metadata": {}, "created": 1}
    page = {"object": "list", "data": [refund], "has_more": True, "url": "/v1/refunds"}
    api.replace("GET", f"{API}/refunds", json=page)
    with pytest.raises(ProviderFault):
        Stripe("sk_test_table").lookup(operation(Kind.REFUND, 1000, "pm_card_visa", "pi_1"))
