"""Commands of the order service that come together in one request.

Each command is answered as if it had come alone: under its own key, with its own status. Payments are stored together
in one statement, charged together and settled together; a command that conflicts with anything is carried out alone.

The order service has each outcome by its answer, so there is no event of it, except in three cases that
`settlements.Settled` names. Nothing can be lost: until order has committed the answer, its message is undelivered, and
it sends the command again under the same key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from chassis.http import idempotency
from chassis.http.idempotency import Claim
from chassis.http.problems import Problem, unavailable
from chassis.postgres.database import UNAVAILABLE, Row
from chassis.telemetry import logs
from chassis.telemetry.metrics import count_transition
from payment import ids, openings, operations, store
from payment.ids import What
from payment.model import Status
from payment.service import Done, Payments

log = logs.get_logger()

CREATE, CAPTURE, VOID, REFUND = "payment.create", "payment.capture", "payment.void", "payment.refund"

SECONDS = 4.0
"""How long a batch works on commands one after the other. Those that are left are refused, and sent again."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its topic, its idempotency key with the merchant, and what is wanted.

    `wanted` is what the schema of the topic loads. `payment_id` is None for a new payment.
    """

    topic: str
    claim: Claim
    payment_id: str | None
    wanted: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a command: the views of the payment and, if there is one, of the refund; or a problem.

    `operation` says what became of a capture or void: its `status` and `reason`.
    """

    payment: Row | None = None
    refund: Row | None = None
    operation: Row | None = None
    problem: Problem | None = None


class Batches:
    """Carries out commands that come together."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    def carry_out(self, commands: Sequence[Command]) -> list[Result]:
        """Carry out commands, and return their results in the same order."""
        created: dict[Claim, Row] = {}
        creates = [command for command in commands if command.topic == CREATE]
        if len(creates) > 1:
            try:
                created = self._create(creates)
            except psycopg.errors.LockNotAvailable:
                log.info("batch_divided", commands=len(creates))
        until = time.monotonic() + SECONDS
        results = []
        for command in commands:
            if command.claim in created:
                results.append(Result(created[command.claim]))
            elif time.monotonic() < until:
                results.append(self._alone(command))
            else:
                results.append(Result(problem=unavailable("The batch has taken too long.")))
        return results

    def _create(self, commands: Sequence[Command]) -> dict[Claim, Row]:
        """Store and carry out new payments together. A command without a view is to be carried out alone."""
        payments = self._payments
        new = [
            (
                command.claim,
                payments.openings.new(
                    command.claim.merchant,
                    command.claim.key,
                    command.wanted,
                    command.headers,
                    idempotency_key=command.claim.key,
                ),
            )
            for command in commands
        ]
        stored = store.insert_many_under_keys(payments.database.session(), new)
        begun = [(claim, payment) for claim, payment in new if payment["id"] in stored]
        count_transition("payment", "", Status.PROCESSING, len(begun))
        operations_begun = [openings.first_operation(payment, payment["headers"]) for _, payment in begun]
        settled = payments.executor.execute_many(operations_begun)
        session, rows = payments.database.session(), dict[Claim, Row]()
        for claim, payment in begun:
            row = settled.get(payment["operation_id"]) or store.get(session, claim.merchant, payment["id"])
            assert row is not None  # no payment is ever deleted
            rows[claim] = row
        return rows

    def _alone(self, command: Command) -> Result:
        with logs.request_context(command.headers):
            try:
                result = self._carry_out(command)
                if result.payment is not None and _is_open(result, result.payment):
                    self._refuse_while_answered(command, str(result.payment["id"]))
                    # No request has a lease now. One may have settled its operation since the result was read, and no
                    # event tells order of that: so the result is read again.
                    result = self._carry_out(command)
                return result
            except Problem as problem:
                row = self._find(command) if problem.name != "payment-not-found" else None
                return Result(row, problem=problem)
            except UNAVAILABLE as error:
                log.warning("database_unavailable", error=error)
                return Result(problem=unavailable("The database of this service does not respond."))

    def _carry_out(self, command: Command) -> Result:
        payments, claim, wanted, headers = self._payments, command.claim, command.wanted, command.headers
        if command.payment_id is None:
            return Result(payments.create(claim, wanted, headers, answered=True).row)
        amount = wanted.get("amount")
        if command.topic == REFUND:
            reason = wanted.get("reason")
            done = payments.refund(claim, command.payment_id, amount, reason, headers, answered=True)
            return Result(self._find(command), refund=done.row)
        if command.topic == CAPTURE:
            done = payments.capture(claim, command.payment_id, amount, headers, final=wanted["final"], answered=True)
        else:
            done = payments.void(claim, command.payment_id, headers, answered=True)
        outcome = self._outcome(command, done)
        # The executor may have settled the operation after the payment was read. An outcome needs the newer one.
        is_older = done.row["busy"] and outcome["status"] != "pending"
        return Result(self._find(command) if is_older else done.row, operation=outcome)

    def _refuse_while_answered(self, command: Command, payment_id: str) -> None:
        """Raise Problem `idempotency-key-in-use` while another request carries out an operation of this payment.

        The outcome is that request's answer, so there is no event of it, and its caller may have gone.
        """
        if operations.is_leased_to_request(self._payments.database.session(), command.claim.merchant, payment_id):
            raise idempotency.in_use()

    def _outcome(self, command: Command, done: Done) -> Row:
        """Return the status and the reason of a capture or void, as they stand now."""
        claim = command.claim
        session, operation_id = self._payments.database.session(), ids.derive(claim.merchant, claim.key, What.OPERATION)
        found = operations.outcome(session, claim.merchant, operation_id)
        if found is not None:
            return found
        # The operation was begun by a release before ids were derived from keys: its payment tells.
        if done.row["busy"]:
            return {"status": "pending", "reason": None}
        return {"status": "declined" if done.row["status"] == Status.AUTHORIZED else "succeeded", "reason": None}

    def _find(self, command: Command) -> Row | None:
        if command.payment_id is None:
            return None
        return store.get(self._payments.database.session(), command.claim.merchant, command.payment_id)


def _is_open(result: Result, payment: Row) -> bool:
    """Return whether an operation of the payment has no known outcome."""
    of_command = any(row is not None and row["status"] == "pending" for row in (result.refund, result.operation))
    return bool(of_command or payment["status"] == Status.PROCESSING or payment["busy"] or payment["refunding_amount"])


def claim(merchant: str, key: str, path: str, body: dict[str, Any]) -> Claim:
    """Return the claim of a command: the same as if its body had been posted to `path` alone."""
    return Claim(merchant, key, idempotency.fingerprint("POST", path, body))
