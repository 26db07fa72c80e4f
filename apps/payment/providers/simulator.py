"""A simulated provider for development and tests: deterministic, with its own record of what it has done.

The record is the schema `simulator`. It is written over a separate connection with separate commits, so that a charge
remains when the payment service rolls back or is killed, as with a real provider. The payment method determines what
happens:

    pm_ok                    succeeds
    pm_declined              declines, card_declined
    pm_insufficient_funds    declines, insufficient_funds
    pm_slow                  succeeds after 2 s
    pm_timeout_charged       succeeds, but the first answer is lost
    pm_timeout_lost          the first request is lost
    pm_error_then_ok         the first request fails without effect
    pm_flaky                 up to three requests, or their answers, are lost; which ones depends on the operation's id
    pm_refund_declined       declines refunds, refund_declined; succeeds otherwise
    pm_void_declined         declines voids, void_declined; succeeds otherwise
    pm_capture_declined      declines captures, capture_declined; succeeds otherwise
    anything else            declines, invalid_payment_method

In addition, the injected faults (faults.py) apply to all payment methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.postgres.database import UNAVAILABLE, Database, Row, Session, to_json
from payment.model import Kind, Operation, Outcome, Record, Result
from payment.providers import ProviderFault, faults
from payment.providers.faults import Faults

_DECLINES = {"pm_declined": "card_declined", "pm_insufficient_funds": "insufficient_funds"}
_ACCEPTED = frozenset(
    {
        "pm_ok",
        "pm_slow",
        "pm_timeout_charged",
        "pm_timeout_lost",
        "pm_error_then_ok",
        "pm_flaky",
        "pm_refund_declined",
        "pm_void_declined",
        "pm_capture_declined",
    }
)
_TROUBLED = frozenset({"pm_slow", "pm_timeout_charged", "pm_timeout_lost", "pm_error_then_ok", "pm_flaky"})
"""Payment methods whose requests take long or go wrong."""

_SLOW = 2.0
_OTHER_CONTENT = "the operation's id was used with other parameters"
_CHARGES = (Kind.SALE, Kind.AUTHORIZE)

_REMEMBER = f"""
INSERT INTO simulator.operations (key, kind, merchant, payment_id, order_id, amount, currency, payment_method, charge,
                                  final)
VALUES (%(key)s, %(kind)s, %(merchant)s, %(payment_id)s, %(order_id)s, %(amount)s, %(currency)s, %(token)s, %(charge)s,
        %(final)s)
ON CONFLICT (key) DO UPDATE SET calls = simulator.operations.calls + 1
RETURNING calls, result, reason, reference, {faults.ROW} AS faults,
          (kind, amount, currency, final) = (%(kind)s, %(amount)s::bigint, %(currency)s, %(final)s) AS same
"""

# No conflict target: of two requests at the same time, the second may meet the reference of the first, not its key.
# If no fault is injected and the payment method alone determines the outcome, a charge is a single statement.
_CHARGE = f"""
INSERT INTO simulator.operations (key, kind, merchant, payment_id, order_id, amount, currency, payment_method, charge,
                                  result, reason, reference)
SELECT %(key)s::uuid, %(kind)s, %(merchant)s, %(payment_id)s::uuid, %(order_id)s::uuid, %(amount)s::bigint,
       %(currency)s, %(token)s, %(charge)s, %(result)s, %(reason)s, %(reference)s
WHERE NOT {faults.ANY}
ON CONFLICT DO NOTHING RETURNING key
"""

_CHARGE_MANY = f"""
INSERT INTO simulator.operations (key, kind, merchant, payment_id, order_id, amount, currency, payment_method, charge,
                                  result, reason, reference)
SELECT key, kind, merchant, payment_id, order_id, amount, currency, token, charge, result, reason, reference
FROM jsonb_to_recordset(%(charges)s::jsonb) AS c (
    key uuid, kind text, merchant text, payment_id uuid, order_id uuid, amount bigint, currency text, token text,
    charge text, result text, reason text, reference text)
WHERE NOT {faults.ANY}
ON CONFLICT DO NOTHING RETURNING key
"""

_HELD = """
SELECT COALESCE(sum(amount) FILTER (WHERE kind IN ('sale', 'authorize')), 0)::bigint AS authorized,
       COALESCE(sum(amount) FILTER (WHERE kind IN ('sale', 'capture')), 0)::bigint AS captured,
       COALESCE(sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunded,
       count(*) FILTER (WHERE kind IN ('sale', 'capture', 'void') AND final) AS closing
FROM simulator.operations WHERE (charge = %(charge)s OR reference = %(charge)s) AND result = 'succeeded'
"""

_RECORDS = """
SELECT key, kind, merchant, payment_id, order_id, amount, currency, payment_method, charge, result, reason, reference,
       at, final
FROM simulator.operations WHERE result IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request, and whether the provider acts nevertheless."""

    acts: bool
    error: str


def fault(token: str, operation_id: str, call: int) -> Fault | None:
    """What goes wrong with request number `call` for an operation, by its payment method; None if nothing does."""
    if token == "pm_flaky":
        seed = UUID(operation_id).int
        failures = seed % 4
        return Fault(bool(seed >> (2 + call) & 1), "the connection broke") if call <= failures else None
    if call > 1:
        return None
    return {
        "pm_timeout_charged": Fault(True, "no answer within the timeout"),
        "pm_timeout_lost": Fault(False, "no answer within the timeout"),
        "pm_error_then_ok": Fault(False, "the provider had an error"),
    }.get(token)


class Simulator:
    """The simulated provider."""

    name = "simulator"
    key_life: float | None = None
    captures_again = True

    def __init__(self, url: str) -> None:
        """`url` is the URL of the database with the schema `simulator`."""
        self._database = Database(url, "simulator", statement_timeout=5.0)

    def send(self, operation: Operation) -> Outcome:
        """Act as the payment method determines. The same operation again returns the same outcome, without effect."""
        if operation.payment_method == "pm_slow":
            time.sleep(_SLOW)
        try:
            failure, outcome, delay = self._act(operation)
        except UNAVAILABLE as error:
            raise ProviderFault("the simulator's database does not answer") from error
        time.sleep(delay)
        if failure is not None or outcome is None:
            raise ProviderFault(failure.error if failure else "there is no outcome")
        return outcome

    def send_many(self, operations: Sequence[Operation]) -> dict[str, Outcome]:
        """Charge in one statement what the payment method alone determines. The other operations are not sent."""
        charges = {
            operation.id: {**_parameters(operation), **_columns(_charge(operation))}
            for operation in operations
            if operation.kind in _CHARGES and operation.payment_method not in _TROUBLED
        }
        if not charges:
            return {}
        try:
            rows = self._database.session().all(_CHARGE_MANY, {"charges": to_json(list(charges.values()))})
        except UNAVAILABLE as error:
            lost = Outcome(Result.UNKNOWN, reason=f"the simulator's database does not answer: {type(error).__name__}")
            return dict.fromkeys(charges, lost)
        done = {str(row["key"]) for row in rows}
        return {operation.id: _charge(operation) for operation in operations if operation.id in done}

    def lookup(self, operation: Operation) -> Outcome | None:
        """Return the outcome recorded under the operation's id, or None."""
        try:
            row = self._database.session().one(f"{_RECORDS} AND key = %s::uuid", (operation.id,))
        except UNAVAILABLE as error:
            raise ProviderFault("the simulator's database does not answer") from error
        if row is None:
            return None
        wanted = (operation.kind, operation.amount, operation.currency, operation.final)
        if (row["kind"], row["amount"], row["currency"], row["final"]) != wanted:
            raise ProviderFault(_OTHER_CONTENT)
        return _outcome(row)

    def records(self, since: datetime, until: datetime) -> Iterator[Record]:
        """Yield what the simulator has done or declined in a period."""
        try:
            with self._database.transaction() as session, session.cursor("records") as cursor:
                cursor.execute(f"{_RECORDS} AND at >= %s AND at < %s", (since, until))
                for row in cursor:
                    yield _record(row)
        except UNAVAILABLE as error:
            raise ProviderFault("the simulator's database does not answer") from error

    def records_of(self, merchant: str, payment_id: str, reference: str | None = None) -> list[Record]:
        """Return what the simulator has done or declined for a payment."""
        try:
            rows = self._database.session().all(
                f"{_RECORDS} AND merchant = %s AND payment_id = %s::uuid", (merchant, payment_id)
            )
        except UNAVAILABLE as error:
            raise ProviderFault("the simulator's database does not answer") from error
        return [_record(row) for row in rows]

    def faults(self, session: Session) -> Row:
        """Return the view of the injected faults: body (JSON text)."""
        return faults.read(session)

    def set_faults(self, session: Session, wanted: Faults) -> None:
        """Replace the injected faults."""
        faults.write(session, wanted)

    def _act(self, operation: Operation) -> tuple[Fault | None, Outcome | None, float]:
        """What goes wrong with this request, the outcome, and the delay of the answer in seconds.

        The outcome is None if the request was lost before the simulator acted.
        """
        wanted = _parameters(operation)
        if operation.kind in _CHARGES and fault(operation.payment_method, operation.id, 1) is None:
            outcome = _charge(operation)
            if self._database.session().one(_CHARGE, {**wanted, **_columns(outcome)}) is not None:
                return None, outcome, 0.0
        with self._database.transaction() as session:
            row = session.one(_REMEMBER, wanted)
            assert row is not None
            if not row["same"]:  # a real provider refuses this too
                raise ProviderFault(_OTHER_CONTENT)
            injected = Faults.of(row["faults"])
            delay = injected.delay_ms / 1000
            failure = _injected(injected, operation.id, row["calls"]) or fault(
                operation.payment_method, operation.id, row["calls"]
            )
            if row["result"] is not None:
                return failure, _outcome(row), delay
            if failure is not None and not failure.acts:
                return failure, None, delay
            declines = injected.decline and operation.kind in _CHARGES
            outcome = _declined("card_declined") if declines else _decide(session, operation)
            session.execute(
                "UPDATE simulator.operations SET result = %s, reason = %s, reference = %s WHERE key = %s",
                (outcome.result, outcome.reason, outcome.reference, operation.id),
            )
            return failure, outcome, delay


def _parameters(operation: Operation) -> dict[str, Any]:
    return {
        "key": operation.id,
        "kind": operation.kind,
        "merchant": operation.merchant,
        "payment_id": operation.payment_id,
        "order_id": operation.order_id,
        "amount": operation.amount,
        "currency": operation.currency,
        "token": operation.payment_method,
        "charge": operation.reference,
        "final": operation.final,
    }


def _injected(faults: Faults, operation_id: str, call: int) -> Fault | None:
    if faults.loses_request(operation_id, call):
        return Fault(False, "the request was lost (injected fault)")
    if faults.loses_answer(operation_id, call):
        return Fault(True, "the answer was lost (injected fault)")
    return None


def _outcome(row: Row) -> Outcome:
    return Outcome(Result(row["result"]), row["reference"], row["reason"])


def _record(row: Row) -> Record:
    opens = row["kind"] in _CHARGES
    return Record(
        row["merchant"],
        _text(row["payment_id"]),
        _text(row["order_id"]),
        str(row["key"]),
        Kind(row["kind"]),
        row["amount"],
        row["currency"],
        _outcome(row),
        row["reference"] if opens else row["charge"],
        row["at"],
        row["payment_method"],
        row["final"],
    )


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _declined(reason: str) -> Outcome:
    return Outcome(Result.DECLINED, None, reason)


def _succeeded(operation: Operation) -> Outcome:
    return Outcome(Result.SUCCEEDED, f"sim_{operation.id}")


def _columns(outcome: Outcome) -> dict[str, str | None]:
    return {"result": outcome.result, "reference": outcome.reference, "reason": outcome.reason}


def _charge(operation: Operation) -> Outcome:
    token = operation.payment_method
    if token in _ACCEPTED:
        return _succeeded(operation)
    return _declined(_DECLINES.get(token, "invalid_payment_method"))


def _decide(session: Session, operation: Operation) -> Outcome:
    if operation.kind in _CHARGES:
        return _charge(operation)
    # Like a real provider, the simulator checks its own record: it locks the charge and sums up what is left of it.
    session.execute("SELECT FROM simulator.operations WHERE reference = %s FOR UPDATE", (operation.reference,))
    held = session.execute(_HELD, {"charge": operation.reference}).fetchone()
    assert held is not None
    if operation.payment_method == f"pm_{operation.kind}_declined":
        return _declined(f"{operation.kind}_declined")
    if operation.kind is Kind.REFUND:
        left = held["captured"] - held["refunded"]
        return _succeeded(operation) if operation.amount <= left else _declined("more_than_was_captured")
    if held["closing"]:
        return _declined("authorization_is_gone")
    fits = operation.kind is Kind.VOID or operation.amount <= held["authorized"] - held["captured"]
    return _succeeded(operation) if fits else _declined("more_than_was_authorized")
