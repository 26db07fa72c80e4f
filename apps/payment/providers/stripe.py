"""Stripe: card payments as PaymentIntents.

A sale is a PaymentIntent that is confirmed when it is created; an authorization is one with manual capture. Capture,
void (cancel) and refund act on the PaymentIntent that the payment's reference names. Nothing asks the customer for
3-D Secure, since one service calls another: a card that requires it is declined with `authentication_required`.

How an operation is looked up after an answer was lost:

- Capture, void and refund have the PaymentIntent's id, and Stripe reads its own objects consistently. The
  PaymentIntent's status says whether it is captured or canceled. A refund is found in the list of refunds by its
  metadata.
- A sale or authorization that is not settled has no id yet. Stripe keeps the answer to an idempotency key for at least
  24 hours and returns it to a repeated request, so a recent operation is sent again. This does not work for older
  operations: Stripe keeps answers of 500 too, and after a day it may forget the key and would charge a second time.
  So once an operation is older than the delay of Stripe's search index, it is searched for by its metadata. The index
  is usually a minute behind, during an outage up to an hour. That is far less than the life of a key, so the key still
  protects every operation that the search cannot find yet. There is no age at which neither protects.
- The age is that of the request, which the operation's id tells if its idempotency key was a UUIDv7. An operation whose
  id has no time is searched for before it is sent for the first time: payment's database may have been restored from an
  older copy, and the request may be a repetition of one from days ago.

The library never retries a request by itself: each call is one attempt with one deadline, and the executor retries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import requests
import stripe
from msgspec.structs import replace

from chassis import derived_ids, outgoing
from chassis.http import authorities
from chassis.telemetry import logs
from payment.model import EXPIRED_NOTE, Kind, Operation, Outcome, Record, Result
from payment.providers import (
    Change,
    Hint,
    InvalidSignature,
    ProviderFault,
    concurrently,
    stripe_errors,
    stripe_events,
    stripe_objects,
    stripe_records,
)
from payment.providers.stripe_errors import Verdict
from payment.providers.stripe_money import NotExact, to_stripe
from payment.providers.stripe_objects import CAPTURE, NOT_REFUNDED, OPERATION, fault, names, of_intent, of_refund, paged

log = logs.get_logger()

# With telemetry, the library writes a machine id into the home directory and reports response times to Stripe.
stripe.enable_telemetry = False

SEARCH_AFTER = 600.0
"""Age in seconds from which an operation is searched for: Stripe's index usually has it within a minute."""

KEY_LIFE = 23 * 3600.0
"""Age in seconds up to which Stripe certainly knows an idempotency key: it promises 24 hours."""

SEARCHED = 10
"""How many PaymentIntents of one operation a search returns. There should be one; more are charges made twice."""

_HOLDING = ("succeeded", "requires_capture", "processing")
"""The statuses of a PaymentIntent that holds, or may soon hold, the customer's money."""

TOLERANCE = 300
"""The maximum age of a signed event, in seconds."""


class _HttpClient(stripe.RequestsClient):
    """Calls Stripe with one session, with its connections, per thread."""

    def request(self, *args: Any, **more: Any) -> Any:
        """Send a request. Raises stripe.APIConnectionError."""
        if getattr(self._thread_local, "session", None) is None:
            self._thread_local.session = outgoing.limit(requests.Session())
        return super().request(*args, **more)


class Stripe:
    """A Stripe account as a provider."""

    name = "stripe"
    key_life: float | None = KEY_LIFE
    captures_again = False

    def __init__(
        self,
        api_key: str,
        *,
        webhook_secrets: tuple[str, ...] = (),
        api_base: str = stripe.DEFAULT_API_BASE,
        timeout: float = 10.0,
    ) -> None:
        """`timeout` is the longest time to wait for a whole answer, in seconds. Nothing is connected yet."""
        self._webhook_secrets = webhook_secrets
        stripe.ca_bundle_path = authorities.bundle()
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base},
            max_network_retries=0,
            http_client=_HttpClient(timeout=(min(3.0, timeout), timeout)),
        )

    def send(self, operation: Operation) -> Outcome:
        """Request an operation. The same operation again returns the same outcome, without another effect."""
        try:
            outcome = self._act(operation)
        except NotExact as error:
            log.warning("amount_not_exact", operation_id=operation.id, error=str(error))
            return Outcome(Result.DECLINED, None, "amount_not_representable")
        except stripe.StripeError as error:
            return self._failed(operation, error)
        except ProviderFault:
            raise
        except Exception as error:  # an answer that the library or this code cannot read: Stripe may have acted
            raise fault(operation, "stripe: an answer that cannot be read", error) from error
        return outcome or Outcome(Result.UNKNOWN, operation.reference, "stripe: the operation has not begun")

    def send_many(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Request some operations at the same time, and return the outcomes that arrive soon; see concurrently.send."""
        return concurrently.send(self.send, operations)

    def lookup(self, operation: Operation) -> Outcome | None:
        """Return the outcome of an operation, or None if it can safely be sent again (see the module's docstring)."""
        try:
            return self._find(operation)
        except stripe.StripeError as error:
            raise self._unanswered(operation, error) from error
        except ProviderFault:
            raise
        except Exception as error:
            raise fault(operation, "stripe: an answer that cannot be read", error) from error

    def records(self, since: datetime, until: datetime) -> Iterator[Record]:
        """Yield what Stripe has recorded in a period; see stripe_records.between."""
        return stripe_records.between(self._client, since, until)

    def records_of(self, merchant: str, payment_id: str, reference: str | None = None) -> list[Record]:
        """Return what Stripe has recorded for a payment; see stripe_records.of_payment and of_charge."""
        if reference is not None:
            return stripe_records.of_charge(self._client, merchant, payment_id, reference)
        return stripe_records.of_payment(self._client, merchant, payment_id)

    def verify_event(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify an event's signature and return what the event is about; see EventSender.verify_event."""
        signature = headers.get("Stripe-Signature", "")
        if not signature.isascii():  # the library can't compare it
            raise InvalidSignature("the signature is not ASCII")
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise InvalidSignature("the body is not UTF-8, so Stripe has not signed it") from error
        for secret in self._webhook_secrets:
            try:
                return stripe_events.hint(self._client.construct_event(text, signature, secret, TOLERANCE).to_dict())
            except stripe.SignatureVerificationError:
                continue
            except (AttributeError, KeyError, RecursionError, TypeError) as error:
                raise ValueError("the signed body is not an event") from error
        raise InvalidSignature("none of the configured secrets signed this event")

    def change(self, hint: Hint) -> Change | None:
        """Return the change of settled money that an event was about; see stripe_events.change."""
        return stripe_events.change(self._client, hint)

    def _act(self, operation: Operation) -> Outcome | None:
        amount = to_stripe(operation.amount, operation.currency)
        intents = self._client.v1.payment_intents
        options: stripe.RequestOptions = {"idempotency_key": operation.id}
        about = names(operation)
        match operation.kind:
            case Kind.SALE | Kind.AUTHORIZE:
                intent = intents.create(
                    {
                        "amount": amount,
                        "currency": operation.currency.lower(),
                        "payment_method": operation.payment_method,
                        "allowed_payment_method_types": ["card"],
                        "capture_method": "automatic" if operation.kind is Kind.SALE else "manual",
                        "confirm": True,
                        "error_on_requires_action": True,
                        "metadata": {OPERATION: operation.id, **about},
                    },
                    options,
                )
            case Kind.CAPTURE:
                # Under another name: `tandem_operation` remains the id by which the search finds the PaymentIntent.
                metadata = {CAPTURE: operation.id, **about}
                intent = intents.capture(
                    _reference(operation), {"amount_to_capture": amount, "metadata": metadata}, options
                )
            case Kind.VOID:
                intent = intents.cancel(_reference(operation), {}, options)
            case Kind.REFUND:
                metadata = {OPERATION: operation.id, **about}
                refund = self._client.v1.refunds.create(
                    {"payment_intent": _reference(operation), "amount": amount, "metadata": metadata}, options
                )
                return of_refund(operation, refund)
        outcome = of_intent(operation, intent)
        if outcome is not None and outcome.result is Result.UNKNOWN:
            # The answer may be an old one that Stripe kept with the key: read the PaymentIntent's current state. Stripe
            # has acted, so an error of this reading is never a decline.
            outcome = self.lookup(replace(operation, reference=intent.id))
        return outcome

    def _find(self, operation: Operation) -> Outcome | None:
        if operation.kind is Kind.REFUND:
            refunds = self._client.v1.refunds.list({"payment_intent": _reference(operation), "limit": 100})
            matching = [refund for refund in paged(refunds) if _named(refund.metadata) == operation.id]
            _report_repeated(operation, [refund.id for refund in matching if refund.status not in NOT_REFUNDED])
            return of_refund(operation, _deciding(matching)) if matching else None
        reference = operation.reference
        if reference is None and operation.kind in (Kind.SALE, Kind.AUTHORIZE):
            reference = self._search(operation)
            if reference is None:
                return None
        return of_intent(operation, self._client.v1.payment_intents.retrieve(reference or _reference(operation)))

    def _search(self, operation: Operation) -> str | None:
        """Return the id of the PaymentIntent that an operation created, or None.

        None if the operation is too recent for the search index, if the search finds nothing, and if the search fails
        while Stripe still knows the idempotency key. Raises stripe.StripeError if it fails later. If the operation has
        created several, which is logged as an error, the one that holds money counts, or else the oldest.
        """
        age = derived_ids.age(operation.id)
        if age is not None and age < SEARCH_AFTER:
            return None
        intents = self._client.v1.payment_intents
        try:
            found = intents.search({"query": f"metadata['{OPERATION}']:'{operation.id}'", "limit": SEARCHED}).data
        except stripe.StripeError:
            # Not every account may search. If Stripe knows the key, sending again is safe. An id without a time is as
            # old as its row, unless the database was restored from an older copy.
            if (operation.age if age is None else age) < KEY_LIFE:
                return None
            raise
        if len(found) > 1:
            found = [intents.retrieve(intent.id) for intent in found]  # the index may be out of date
            found.sort(key=lambda intent: (intent.status not in _HOLDING, intent.created))
            _report_repeated(operation, [intent.id for intent in found if intent.status in _HOLDING])
        return found[0].id if found else None

    def _failed(self, operation: Operation, error: stripe.StripeError) -> Outcome:
        """Return the outcome that an error of `send` means. Raises ProviderFault if the outcome is not known."""
        verdict = stripe_errors.classify(error)
        if verdict in (Verdict.LATER, Verdict.OPERATOR):
            raise self._unanswered(operation, error) from error
        if verdict is Verdict.REFUSED:
            log.error("stripe_refused_without_a_code", operation_id=operation.id, message=error.user_message)
        if operation.reference is not None:
            # Stripe may have forgotten the key, and the error may mean that the operation was done before.
            found = self.lookup(operation)
            if found is not None:
                return found
            # The decline of an expired authorization's void counts as a release, and Stripe still holds the money.
            expires = operation.kind is Kind.VOID and operation.note == EXPIRED_NOTE
            if expires or (verdict is Verdict.STATE and operation.kind is not Kind.REFUND):
                raise ProviderFault(f"{stripe_errors.describe(error)}, but its state allows the operation") from error
        elif verdict is Verdict.STATE:
            raise self._unanswered(operation, error) from error
        return Outcome(Result.DECLINED, stripe_errors.reference(error), stripe_errors.reason(error))

    def _unanswered(self, operation: Operation, error: stripe.StripeError) -> ProviderFault:
        if stripe_errors.classify(error) is Verdict.LATER:
            return ProviderFault(stripe_errors.describe(error))
        return fault(operation, stripe_errors.describe(error), error)


def _named(metadata: Any) -> str | None:
    return stripe_objects.text(metadata, OPERATION)


def _report_repeated(operation: Operation, acts: Sequence[str]) -> None:
    """Log an error if Stripe has acted more than once on an operation; `acts` are the ids of Stripe's objects."""
    if len(acts) > 1:
        log.error("provider_acted_twice", operation_id=operation.id, kind=operation.kind, acts=list(acts))


def _deciding(refunds: Sequence[stripe.Refund]) -> stripe.Refund:
    """Return the refund that decides the outcome, of several of one operation, of which the newest is listed first.

    That is one that has returned money, or else one that still may: otherwise the same money could be refunded again.
    """
    return min(reversed(refunds), key=lambda refund: (refund.status in NOT_REFUNDED, refund.status != "succeeded"))


def _reference(operation: Operation) -> str:
    if operation.reference is None:
        raise fault(operation, "stripe: the payment has no PaymentIntent")
    return operation.reference
