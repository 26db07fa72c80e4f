"""Stripe: card payments as PaymentIntents.

A sale is a PaymentIntent that is confirmed as it is made; an authorization is one with manual capture.
Capture, void (cancel) and refund are about the PaymentIntent that the payment's reference names. What a caller
must still do by hand (3-D Secure) can't happen between two services, so a card that asks for it is declined with
`authentication_required`.

How an operation is found again after an answer was lost:

- Capture, void and refund have the PaymentIntent's id, and Stripe reads its own objects consistently: its state
  says whether it is captured or canceled, its list of refunds whether ours, known by its metadata, is among them.
- A sale or authorization that is not settled has no id yet. Stripe keeps the answer to an idempotency key for 24
  hours at least, and gives it again to whoever repeats the request, so a young operation is sent again. But it keeps
  answers of 500 as well, and after a day it may forget the key and would charge a second time. So once it is older
  than the index of the search needs to notice it, it is searched for by its metadata. The index runs behind by a
  minute, in bad times by an hour: far less than a key lives, so whatever the search does not know yet, the key still
  protects. There is no age at which neither does.

The library never repeats a request by itself: one attempt, one deadline, and the executor decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from uuid import UUID

import stripe

from chassis.telemetry import logs
from payment.model import Kind, Operation, Outcome, Result
from payment.providers import Hint, NotGenuine, ProviderFault, stripe_errors, stripe_objects
from payment.providers.stripe_errors import Verdict
from payment.providers.stripe_money import NotExact, to_stripe
from payment.providers.stripe_objects import CAPTURE, OPERATION, fault, of_intent, of_refund

log = logs.get_logger()

# The library would write an id of this machine into a home directory, and report our timings to Stripe.
stripe.enable_telemetry = False

SEARCH_AFTER = 600.0
"""Seconds after which an operation is searched for: Stripe's index has it within one minute, as a rule."""

KEY_LIFE = 23 * 3600.0
"""Seconds for which Stripe surely knows an idempotency key: it promises 24 hours."""

TOLERANCE = 300
"""How old a signed message may be, in seconds."""


class Stripe:
    """Stripe, for one account."""

    name = "stripe"

    def __init__(
        self,
        api_key: str,
        *,
        webhook_secrets: tuple[str, ...] = (),
        api_base: str = stripe.DEFAULT_API_BASE,
        timeout: float = 10.0,
    ) -> None:
        """`timeout` is how long to wait for an answer, in seconds. Connects to nothing yet."""
        self._webhook_secrets = webhook_secrets
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base},
            max_network_retries=0,
            # It holds a session, and so its connections, for each thread.
            http_client=stripe.RequestsClient(timeout=(min(3.0, timeout), timeout)),
        )

    def send(self, operation: Operation) -> Outcome:
        """Ask for an operation; asking again under the same id gives the same answer and acts no more."""
        try:
            outcome = self._act(operation)
        except NotExact as error:
            log.warning("amount_not_exact", operation_id=operation.id, error=str(error))
            return Outcome(Result.DECLINED, None, "amount_not_representable")
        except stripe.StripeError as error:
            return self._failed(operation, error)
        except ProviderFault:
            raise
        except Exception as error:  # an answer that the library or we can't make sense of: it may have acted
            raise fault(operation, "stripe: an answer that makes no sense", error) from error
        return outcome or Outcome(Result.UNKNOWN, operation.reference, "stripe: it has not begun")

    def lookup(self, operation: Operation) -> Outcome | None:
        """What became of an operation; None when it is right to send it again (see above)."""
        try:
            return self._find(operation)
        except stripe.StripeError as error:
            raise self._unanswered(operation, error) from error
        except ProviderFault:
            raise
        except Exception as error:
            raise fault(operation, "stripe: an answer that makes no sense", error) from error

    def hint(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """What an event is about. Raises NotGenuine, or ValueError if the signed body is no event."""
        signature = headers.get("Stripe-Signature")
        for secret in self._webhook_secrets:
            try:
                return stripe_objects.hint(self._client.construct_event(body, signature, secret, TOLERANCE).to_dict())
            except stripe.SignatureVerificationError:
                continue
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError("a signed body that is no event") from error
        raise NotGenuine("no secret of ours has signed this")

    def _act(self, operation: Operation) -> Outcome | None:
        amount = to_stripe(operation.amount, operation.currency)
        intents = self._client.v1.payment_intents
        options: stripe.RequestOptions = {"idempotency_key": operation.id}
        names = {"tandem_payment": operation.payment_id, "tandem_merchant": operation.merchant}
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
                        "metadata": {OPERATION: operation.id, **names},
                    },
                    options,
                )
            case Kind.CAPTURE:
                # Under a name of its own: `tandem_operation` stays what the search finds the PaymentIntent by.
                metadata = {CAPTURE: operation.id, **names}
                intent = intents.capture(
                    _reference(operation), {"amount_to_capture": amount, "metadata": metadata}, options
                )
            case Kind.VOID:
                intent = intents.cancel(_reference(operation), {}, options)
            case Kind.REFUND:
                metadata = {OPERATION: operation.id, **names}
                refund = self._client.v1.refunds.create(
                    {"payment_intent": _reference(operation), "amount": amount, "metadata": metadata}, options
                )
                return of_refund(refund)
        outcome = of_intent(operation, intent)
        if outcome is not None and outcome.result is Result.UNKNOWN:
            # The answer may be one that Stripe kept with the key: ask what has become of it since.
            outcome = of_intent(operation, intents.retrieve(intent.id))
        return outcome

    def _find(self, operation: Operation) -> Outcome | None:
        if operation.kind is Kind.REFUND:
            refunds = self._client.v1.refunds.list({"payment_intent": _reference(operation), "limit": 100})
            ours = (refund for refund in refunds.auto_paging_iter() if _metadata(refund) == operation.id)
            found = next(ours, None)
            return of_refund(found) if found is not None else None
        reference = operation.reference
        if reference is None and operation.kind in (Kind.SALE, Kind.AUTHORIZE):
            reference = self._search(operation)
            if reference is None:
                return None
        return of_intent(operation, self._client.v1.payment_intents.retrieve(reference or _reference(operation)))

    def _search(self, operation: Operation) -> str | None:
        """The id of the PaymentIntent that an operation has made, once the search may know it."""
        age = _age(operation.id)
        if age < SEARCH_AFTER:
            return None
        try:
            found = self._client.v1.payment_intents.search(
                {"query": f"metadata['{OPERATION}']:'{operation.id}'", "limit": 1}
            )
        except stripe.StripeError:
            if age < KEY_LIFE:  # not every account may search; the key is known for certain, so it may be sent
                return None
            raise
        return found.data[0].id if found.data else None

    def _failed(self, operation: Operation, error: stripe.StripeError) -> Outcome:
        """What follows from an error of `send`. Raises ProviderFault when the outcome is not known."""
        verdict = stripe_errors.judge(error)
        if verdict in (Verdict.LATER, Verdict.OPERATOR):
            raise self._unanswered(operation, error) from error
        if verdict is Verdict.REFUSED:
            log.error("stripe_refused_without_a_code", operation_id=operation.id, message=error.user_message)
        if operation.reference is not None:
            # Stripe has perhaps forgotten the key, and refuses to do a second time what it has done for us.
            seen = self.lookup(operation)
            if seen is not None:
                return seen
            if verdict is Verdict.STATE and operation.kind is not Kind.REFUND:
                raise ProviderFault(f"{stripe_errors.describe(error)}, and yet it can be done") from error
        elif verdict is Verdict.STATE:
            raise self._unanswered(operation, error) from error
        return Outcome(Result.DECLINED, stripe_errors.reference(error), stripe_errors.reason(error))

    def _unanswered(self, operation: Operation, error: stripe.StripeError) -> ProviderFault:
        if stripe_errors.judge(error) is Verdict.LATER:
            return ProviderFault(stripe_errors.describe(error))
        return fault(operation, stripe_errors.describe(error), error)


def _metadata(refund: stripe.Refund) -> str | None:
    return getattr(refund.metadata, OPERATION, None)


def _reference(operation: Operation) -> str:
    if operation.reference is None:
        raise fault(operation, "stripe: the payment has no PaymentIntent")
    return operation.reference


def _age(operation_id: str) -> float:
    """Seconds since an operation was made, by its id (UUIDv7, RFC 9562: it begins with milliseconds since 1970)."""
    return time.time() - (UUID(operation_id).int >> 80) / 1000
