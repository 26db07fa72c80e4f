"""A simulated provider for development and tests: deterministic, with its own record of what it has done.

The record is the schema `simulator`. It is written over a separate connection with separate commits, so that a charge
remains when the payment service rolls back or is killed, as with a real provider. The payment method determines what
happens (payment_methods.py). In addition, the injected faults (faults.py) apply to all payment methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.postgres.database import UNAVAILABLE, Database, Row, Session, to_json
from payment.model import Kind, Operation, Outcome, Record, Result
from payment.providers import ProviderFault, faults, payment_methods
from payment.providers.faults import Faults
from payment.providers.payment_methods import Fault

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
        time.sleep(payment_methods.delay(operation.payment_method))
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
            if operation.kind in _CHARGES and payment_methods.is_reliable(operation.payment_method)
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
        """Return what goes wrong with this request, the outcome, and the delay of the answer in seconds.

        The outcome is None if the request was lost before the simulator acted.
        """
        wanted = _parameters(operation)
        if operation.kind in _CHARGES and payment_methods.fault(operation.payment_method, operation.id, 1) is None:
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
            failure = _injected(injected, operation.id, row["calls"]) or payment_methods.fault(
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
    reason = payment_methods.decline(operation.payment_method, operation.kind)
    return _succeeded(operation) if reason is None else _declined(reason)


def _decide(session: Session, operation: Operation) -> Outcome:
    if operation.kind in _CHARGES:
        return _charge(operation)
    # Like a real provider, the simulator checks its own record: it locks the charge and sums up what is left of it.
    session.execute("SELECT FROM simulator.operations WHERE reference = %s FOR UPDATE", (operation.reference,))
    held = session.execute(_HELD, {"charge": operation.reference}).fetchone()
    assert held is not None
    reason = payment_methods.decline(operation.payment_method, operation.kind)
    if reason is not None:
        return _declined(reason)
    if operation.kind is Kind.REFUND:
        left = held["captured"] - held["refunded"]
        return _succeeded(operation) if operation.amount <= left else _declined("more_than_was_captured")
    if held["closing"]:
        return _declined("authorization_is_gone")
    fits = operation.kind is Kind.VOID or operation.amount <= held["authorized"] - held["captured"]
    return _succeeded(operation) if fits else _declined("more_than_was_authorized")
