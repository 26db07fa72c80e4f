"""A provider for development and tests: deterministic, and with a memory of its own.

Its memory is the schema `simulator`, written over its own connection with its own commits, so that what
it has charged stays charged when the payment service rolls back or is killed, as with a real provider.
The payment method chooses what happens (see `_TOKENS`).
"""

from __future__ import annotations

import time

from chassis.database import DOWN, Database
from payment.model import Operation, Outcome, Result
from payment.providers import ProviderFault

_DECLINES = {"pm_declined": "card_declined", "pm_insufficient_funds": "insufficient_funds"}
_ACCEPTED = frozenset({"pm_ok", "pm_slow", "pm_timeout_charged", "pm_timeout_lost"})
_SLOW = 2.0

_REMEMBER = """
INSERT INTO simulator.operations (key, kind, merchant, amount, currency, payment_method)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET calls = simulator.operations.calls + 1
RETURNING calls, result, reason, reference
"""


class Simulator:
    """Charges nobody, and remembers it."""

    name = "simulator"

    def __init__(self, url: str) -> None:
        """`url` is the database that holds the schema `simulator`."""
        self._database = Database(url, "simulator")

    def send(self, operation: Operation) -> Outcome:
        """Act as the payment method says; the same operation again gives the same answer and acts no more."""
        token = operation.payment_method
        if token == "pm_slow":
            time.sleep(_SLOW)
        try:
            calls, outcome = self._act(operation, token)
        except DOWN as error:
            raise ProviderFault("the simulator's memory does not answer") from error
        if calls == 1 and token in ("pm_timeout_charged", "pm_timeout_lost"):
            raise ProviderFault("the answer did not come in time")
        return outcome

    def lookup(self, operation: Operation) -> Outcome | None:
        """What was done under the operation's id."""
        try:
            row = (
                self._database.session()
                .execute(
                    "SELECT result, reason, reference FROM simulator.operations WHERE key = %s AND result IS NOT NULL",
                    (operation.id,),
                )
                .fetchone()
            )
        except DOWN as error:
            raise ProviderFault("the simulator's memory does not answer") from error
        return Outcome(Result(row["result"]), row["reference"], row["reason"]) if row else None

    def _act(self, operation: Operation, token: str) -> tuple[int, Outcome]:
        """How often this operation was asked for, and its outcome; the first request of some is lost."""
        with self._database.transaction() as session:
            row = session.execute(
                _REMEMBER,
                (
                    operation.id,
                    operation.kind,
                    operation.merchant,
                    operation.amount,
                    operation.currency,
                    token,
                ),
            ).fetchone()
            assert row is not None
            if row["result"] is not None:
                return row["calls"], Outcome(Result(row["result"]), row["reference"], row["reason"])
            if token == "pm_timeout_lost" and row["calls"] == 1:
                return 1, Outcome(Result.UNKNOWN)
            outcome = _decide(operation, token)
            session.execute(
                "UPDATE simulator.operations SET result = %s, reason = %s, reference = %s WHERE key = %s",
                (outcome.result, outcome.reason, outcome.reference, operation.id),
            )
            return row["calls"], outcome


def _decide(operation: Operation, token: str) -> Outcome:
    if token in _ACCEPTED:
        return Outcome(Result.SUCCEEDED, f"sim_{operation.id}")
    return Outcome(Result.DECLINED, None, _DECLINES.get(token, "invalid_payment_method"))
