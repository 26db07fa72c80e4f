"""The changes that break the product, one defect each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Mutation:
    """A change that breaks the product: its effect, the file, the edits, and the closest tests (none: only chaos).

    `also` has edits of other files, each with its file.
    """

    name: str
    breaks: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...] = field(default=())
    also: tuple[tuple[str, str, str], ...] = field(default=())

    def changed(self, root: Path) -> dict[Path, str]:
        """Return the changed texts of the files of a checkout.

        Raises ValueError unless the code to change is there exactly once.
        """
        texts: dict[Path, str] = {}
        for file, old, new in (*((self.file, *edit) for edit in self.edits), *self.also):
            text = texts.get(root / file) or (root / file).read_text()
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {file} has {text.count(old)} of {old!r}")
            texts[root / file] = text.replace(old, new)
        return texts


def _late(statements: str) -> tuple[str, str]:
    """Return the edit of order.store.placing that adds a function `_late`, which runs these lines a moment later."""
    return (
        "def under_key(",
        "def _late(session: Session, order: dict[str, Any]) -> None:\n"
        "    import time\n\n"
        "    time.sleep(0.05)\n"
        "    order = {name: to_json(value) if isinstance(value, dict) else value for name, value in order.items()}\n"
        f"{statements}\n\n"
        "def under_key(",
    )


_DERIVED = "| version << 76 | 0x8000 << 48"
_RANDOM = f"^ time.time_ns() & 0xFFFF {_DERIVED}"

MUTATIONS = (
    Mutation(
        "no fingerprint check",
        "a used key is accepted for a different request",
        "apps/chassis/http/idempotency.py",
        (('if row["fingerprint"] != claim.fingerprint:', "if False:"),),
    ),
    Mutation(
        "key after the effect",
        "the idempotency key is committed after the order",
        "apps/order/service.py",
        (
            (
                "row = idempotency.inserted(lambda: self._placing.run(placing.under_key(claim, order)))",
                "session = self.database.session()\n            row = placing.insert(session, order)\n"
                "            row = row and placing._view(order, row)\n"
                '            idempotency._take(session, claim, order["id"], 201)',
            ),
        ),
    ),
    Mutation(
        "results of a group in another sequence",
        "of orders that are placed in one statement, callers get each other's",
        "apps/order/store/placing.py",
        (("in rows else None for order in orders]", "in rows else None for order in wanted]"),),
        ("tests/integration/order/test_placing_groups.py",),
    ),
    Mutation(
        "lease without fencing",
        "a relay that has lost its lease can still mark the row delivered",
        "apps/chassis/messaging/outbox.py",
        (
            (
                '"UPDATE outbox SET {DELIVERED} WHERE {OUTBOX.held} RETURNING id"',
                '"UPDATE outbox SET {DELIVERED} WHERE id = %(id)s AND {OUTBOX.pending} RETURNING id"',
            ),
        ),
        ("tests/integration/chassis",),
    ),
    Mutation(
        "settled without the lease",
        "a relay that has lost its lease can still change the order",
        "apps/order/store/steps.py",
        (('AND {leases.held("o", "o.delivered_at IS NULL", "s.holder")} FOR UPDATE', "FOR UPDATE"),),
        ("tests/integration/order/test_settling.py",),
    ),
    Mutation(
        "settled by an old look",
        "an order that was written since it was read is settled from the outdated row",
        "apps/order/store/steps.py",
        (("AND o.id = s.id AND o.version = s.seen", "AND o.id = s.id"),),
        ("tests/integration/order/test_settling.py",),
    ),
    Mutation(
        "check, then act",
        "a refund is reserved without a guard, after a separate read of what is left",
        "apps/payment/operations.py",
        (
            (
                "AND status = 'captured'\n"
                "          AND captured_amount - refunded_amount - refunding_amount >= %(wanted)s",
                "AND status = 'captured'",
            ),
        ),
        ("tests/integration/test_lifecycle.py",),
    ),
    Mutation(
        "new id at retry",
        "an operation is sent again under a new id, without looking up whether it was done",
        "apps/payment/executor.py",
        (
            ("import time\n", "import time\n\nimport uuid_utils\nfrom msgspec.structs import replace\n"),
            (
                "outcome = self._provider.lookup(operation) if look else None",
                "outcome = None",
            ),
            (
                "outcome = outcome or self._provider.send(operation)",
                "outcome = self._provider.send(\n"
                "                operation if operation.attempts == 1"
                " else replace(operation, id=str(uuid_utils.uuid7()))\n            )",
            ),
        ),
    ),
    Mutation(
        "event without version",
        "a payment snapshot is applied whatever its version",
        "apps/order/transition.py",
        (
            (
                "return known is None or payment.version > known.version",
                "return True",
            ),
        ),
        ("tests/unit/order", "tests/unit/test_simulation.py"),
    ),
    Mutation(
        "outbox in a second transaction",
        "an order is committed a moment before its command to payment",
        "apps/order/store/placing.py",
        (
            (
                '{"orders": to_json(wanted)})}',
                '{"orders": to_json([{**order, "topic": None} for order in wanted])})}\n'
                '        for order in (each for each in orders if each["id"] in rows):\n'
                "            _late(session, order)",
            ),
            _late(
                '    if order.get("topic"):\n'
                "        session.execute(\n"
                '            "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers) VALUES"\n'
                '            " (%(command_id)s, %(merchant)s, %(id)s, %(topic)s, %(payload)s, %(headers)s)",\n'
                "            order,\n"
                "        )\n"
            ),
        ),
    ),
    Mutation(
        "event outside of the step's transaction",
        "an order is committed a moment before its event",
        "apps/order/store/placing.py",
        (
            ("FROM {_EVENTS} WHERE n.id IS NOT NULL),", "FROM {_EVENTS} WHERE false),"),
            (
                '{"orders": to_json(wanted)})}',
                '{"orders": to_json(wanted)})}\n'
                '        for order in (each for each in orders if each["id"] in rows):\n'
                "            _late(session, order)",
            ),
            _late(
                "    session.execute(\n"
                '        "INSERT INTO order_events (merchant, order_id, version, type, to_status, actor, id) VALUES"\n'
                "        \" (%(merchant)s, %(id)s, 1, 'order.placed', 'pending_payment', 'merchant', %(event_id)s)\",\n"
                "        order,\n"
                "    )\n"
            ),
        ),
    ),
    Mutation(
        "position moved before the acknowledgement",
        "the publisher's position moves although the broker did not acknowledge the events",
        "apps/order/publisher/loop.py",
        (("count = done.index(False) if False in done else len(done)", "count = len(done)"),),
        ("tests/integration/order/publisher/test_publishing.py",),
    ),
    Mutation(
        "events of an order published at once",
        "after an event that the broker refuses, later ones of the same order are published",
        "apps/order/publisher/jetstream.py",
        (
            (
                "                    async with room:\n"
                "                        await self._send(stream, message)\n"
                "                    acknowledged.add(message.id)\n",
                "                    async with room:\n"
                "                        try:\n"
                "                            await self._send(stream, message)\n"
                "                            acknowledged.add(message.id)\n"
                "                        except FAILURES as error:\n"
                "                            failures.append(error)\n",
            ),
        ),
        ("tests/integration/order/publisher/test_refusals.py",),
    ),
    Mutation(
        "feed ordered by id alone",
        "the feed shows events although older transactions run, and skips what these commit",
        "apps/order/feed/store.py",
        (("      AND n.position < (SELECT {below}) {only}", "      {only}"),),
        ("tests/integration/order/feed/test_completeness.py",),
    ),
    Mutation(
        "position of the transaction alone",
        "an event comes before the order's event before it, if its transaction began earlier",
        "apps/order/store/events.py",
        (
            (
                "GREATEST(order_events_base() + pg_current_xact_id()::text::bigint, before.position)",
                "order_events_base() + pg_current_xact_id()::text::bigint",
            ),
        ),
        ("tests/integration/order/feed/test_completeness.py",),
    ),
    Mutation(
        "time-out taken for a decline",
        "an unknown outcome becomes a failure",
        "apps/payment/executor.py",
        (
            (
                "outcome = Outcome(Result.UNKNOWN, reason=str(error))",
                "outcome = Outcome(Result.DECLINED, reason=str(error))",
            ),
        ),
    ),
    Mutation(
        "ledger entries dropped",
        "captured money is not entered in the ledger",
        "apps/payment/model.py",
        (
            (
                "return Settlement(Status.CAPTURED, authorized=amount, captured=amount, entries=_taken(amount))",
                "return Settlement(Status.CAPTURED, authorized=amount, captured=amount)",
            ),
        ),
    ),
    Mutation(
        "a new key for each attempt",
        "order's command counts under another key at each attempt",
        "apps/payment/batch_api.py",
        (
            (
                'claim(each["merchant"], each["id"], path, payload)',
                'claim(each["merchant"], __import__("uuid").uuid4().hex, path, payload)',
            ),
        ),
    ),
    Mutation(
        "events without a signature",
        "anybody can tell order that it was paid",
        "apps/order/api.py",
        (("if not signatures.is_genuine(", "if False and not signatures.is_genuine("),),
        ("tests/integration/order",),
    ),
    Mutation(
        "canceled too soon",
        "a canceled order does not wait for the payment that is in flight",
        "apps/order/model.py",
        (
            (
                "    if order.waits_for(Command.CREATE, Command.CAPTURE):\n",
                "    if order.waits_for(Command.CAPTURE):\n",
            ),
        ),
        ("tests/integration/test_lifecycle.py",),
    ),
    Mutation(
        "a 202 taken for an outcome",
        "a void or capture whose outcome is unknown is requested again and again",
        "apps/order/answers.py",
        (
            (
                '    if operation["status"] == "pending":\n        return Answer(known, None, message.id)\n',
                '    if operation["status"] == "pending":\n'
                "        return Answer(known, Outcome(message.id, False), message.id)\n",
            ),
        ),
        ("tests/unit/test_simulation.py",),
    ),
    Mutation(
        "a declined void is repeated",
        "an order that is over asks again for a void that the provider has declined",
        "apps/order/model.py",
        (
            (
                'if payment.status == "authorized" and not (error and error.command is Command.VOID):',
                'if payment.status == "authorized":',
            ),
        ),
        ("tests/unit/order/test_transition.py",),
    ),
    Mutation(
        "the key of a pending refund is purged",
        "a purge deletes the key of a refund that has no outcome, so order's repeated command is a second refund",
        "apps/payment/store.py",
        (
            (
                "AND o.id = idempotency_keys.resource_id AND o.status = 'pending')",
                "AND o.id = idempotency_keys.resource_id AND false)",
            ),
        ),
        ("tests/integration/chassis/cli/test_purge.py",),
        also=(("apps/chassis/derived_ids.py", _DERIVED, _RANDOM),),  # with derived ids the second request is a replay
    ),
    Mutation(
        "a purged key is forgotten",
        "a request that is repeated after its key was purged is refused, although payment has its operation",
        "apps/payment/service.py",
        (("if reservations.is_repeated(session, operation, amount):", "if session is None:"),),
        ("tests/integration/payment/test_restored_database.py",),
    ),
    Mutation(
        "a payment of no order is forgotten",
        "an event of a payment whose order does not exist leaves no trace",
        "apps/order/changes.py",
        (("orphans.keep(session, merchant, order_id, answer.payment)", "pass"),),
        ("tests/integration/order/test_orphans.py",),
    ),
    Mutation(
        "payment tells nothing again",
        "a resync of payment does not tell order what changed since a moment",
        "apps/payment/resync.py",
        (("for keys in adopted.find_changed(self._reading.session(), since - TELLING, STEP):", "for keys in ():"),),
        ("tests/integration/payment/test_restored_database.py",),
    ),
    Mutation(
        "order asks nothing again",
        "a resync of order does not send the commands since a moment again",
        "apps/order/resync.py",
        (("        self._delivered(since - MARGIN)\n", ""),),
        ("tests/integration/order/test_resync.py",),
    ),
    Mutation(
        "a declined command is sent again",
        "the sweep and the resync send a command again although its order knows that it was declined",
        "apps/order/store/resending.py",
        (("IS_LIVE = f\"(outbox.topic = 'payment.create' OR ({WITHOUT_OUTCOME}))\"", 'IS_LIVE = "true"'),),
        ("tests/integration/order/test_declined_before_a_restore.py",),
    ),
    Mutation(
        "a payment that was given up is ignored for good",
        "an order does not take a payment back that failed and is live again after a restore",
        "apps/order/transition.py",
        (("        history.take_back(answer.payment)\n", "        pass\n"),),
        ("tests/integration/order/test_past_payment_lives.py",),
    ),
    Mutation(
        "compared by creation",
        "reconcile does not compare an order that was placed before the period and changed in it",
        "apps/order/store/comparison.py",
        (
            (
                "WHERE e.at >= %(begin)s AND e.at < %(end)s",
                "WHERE e.version = 1 AND e.at >= %(begin)s AND e.at < %(end)s",
            ),
            ("    AND later.version > e.version AND later.at < %(until)s)", "    AND later.version < e.version)"),
        ),
        ("tests/integration/test_reconcile.py::test_an_order_is_compared_when_it_changed_and_not_when_it_was_placed",),
        # The payments whose money moved in the period would find the order, too.
        also=(("apps/order/reconcile.py", "yield from self._of_merchant(merchant)\n", "continue\n"),),
    ),
    Mutation(
        "a declined capture leaves no trace",
        "an order does not show what the provider has declined",
        "apps/order/transition.py",
        (("    if outcome.succeeded or error is not None:\n", "    if outcome.succeeded:\n"),),
        ("tests/unit/order/test_transition.py",),
    ),
    Mutation(
        "a captured part strands the order",
        "an order stays authorized if a part of its payment is captured",
        "apps/order/model.py",
        (
            (
                'case "captured" if not payment.captured_amount:',
                'case "captured" if payment.captured_amount < order.total_amount:',
            ),
        ),
        ("tests/unit/order/test_model.py",),
    ),
    Mutation(
        "captures without a guard",
        "a capture is reserved without a guard, after a separate read of what is left",
        "apps/payment/operations.py",
        (
            (
                "\n          AND captured_amount = %(captured)s AND authorized_amount - captured_amount >= %(wanted)s",
                "",
            ),
        ),
        ("tests/integration/payment/test_partial_captures.py",),
    ),
    Mutation(
        "a void decided on an old look",
        "a void is reserved although a part was captured after its payment was read",
        "apps/payment/operations.py",
        (
            (
                'AND busy IS NULL\n          AND captured_amount = %(captured)s"""',
                'AND busy IS NULL"""',
            ),
        ),
        ("tests/integration/payment/test_partial_captures.py",),
    ),
    Mutation(
        "each capture may take all",
        "a capture is compared with what is authorized, whatever was captured before",
        "apps/payment/model.py",
        (("amount > payment.capturable:", "amount > payment.authorized:"),),
        ("tests/unit/payment/test_model.py",),
    ),
    Mutation(
        "every capture is final",
        "a capture that is to keep the rest ends the authorization",
        "apps/payment/model.py",
        (("status = Status.CAPTURED if operation.final else None", "status = Status.CAPTURED"),),
        ("tests/unit/payment/test_model.py",),
    ),
    Mutation(
        "a release forgets what is captured",
        "a payment is voided or expired although a part of it is captured",
        "apps/payment/model.py",
        (("    if void.captured:\n", "    if False:\n"),),
        ("tests/unit/payment/test_model.py",),
    ),
    Mutation(
        "two parts are taken for one",
        "a capture of a part is answered with another one of the same amount that is under way",
        "apps/order/refusals.py",
        (("not (final and asked.final and pending == amount)", "pending != amount"),),
        ("tests/unit/order/test_partial_captures.py",),
    ),
    Mutation(
        "a captured part is refunded too early",
        "an order that is over asks again and again for a refund that payment refuses while a part is authorized",
        "apps/order/model.py",
        (('if payment.status == "captured" and payment.held > 0', "if payment.held > 0"),),
        ("tests/unit/order/test_partial_captures.py",),
    ),
    Mutation(
        "what was captured goes back",
        "an order shows less as paid while payment reports its captures again after a restore",
        "apps/order/model.py",
        (
            (
                "return replace(now, paid_amount=max(order.paid_amount, payment.captured_amount))",
                "return replace(now, paid_amount=payment.captured_amount)",
            ),
        ),
        ("tests/unit/order/test_partial_captures.py",),
    ),
    Mutation(
        "a part is asked for again as final",
        "a capture whose message was purged is rebuilt as one that releases the rest",
        "apps/order/resync.py",
        (("final=asked.final", "final=True"),),
        ("tests/integration/order/test_partial_captures.py",),
    ),
    Mutation(
        "random ids",
        "an operation's id does not follow from the key that asked for it",
        "apps/chassis/derived_ids.py",
        (
            (
                _DERIVED,
                _RANDOM,
            ),
        ),
        ("tests/unit/payment/test_ids.py",),
    ),
    Mutation(
        "one queue for all waiting orders",
        "many old authorized orders keep the sweep from pending ones",
        "apps/order/store/waiting.py",
        (
            ("SELECT merchant, id, command_id FROM orders", "SELECT merchant, id, command_id, updated_at FROM orders"),
            ("SKIP LOCKED) AS due),", "SKIP LOCKED) AS due ORDER BY due.updated_at LIMIT 100),"),
        ),
        ("tests/integration/order/test_sweep.py",),
    ),
    Mutation(
        "the sketch waits in every thread",
        "repeated requests for a payment without an outcome take all web threads",
        "apps/payment/compat.py",
        (("    with payments().waiting_room.enter(WAIT, g.merchant) as wait:\n", "    wait = WAIT\n    if wait:\n"),),
        ("tests/integration/payment/test_sketch.py",),
    ),
    Mutation(
        "money that does not fit is kept",
        "a payment of another amount than the order's is not returned",
        "apps/order/model.py",
        (("    returned = _return_money(order, failed)\n", "    returned = failed\n"),),
        ("tests/unit/order/test_transition.py",),
    ),
    Mutation(
        "waits longer than the caller",
        "the time spent on the call to payment is not taken off the time that the caller waits",
        "apps/order/service.py",
        (
            (
                "return Done(self._await(claim.merchant, order_id, deadline, is_done)",
                "return Done(self._await(claim.merchant, order_id, time.monotonic() + wait, is_done)",
            ),
        ),
        ("tests/integration/order/test_waiting.py",),
    ),
    Mutation(
        "a committed order is answered with 503",
        "an order that is placed is answered with an error if the database fails while its caller waits",
        "apps/order/service.py",
        (
            (
                '            log.warning("database_unavailable", error=error)\n            return row\n',
                '            log.warning("database_unavailable", error=error)\n            raise\n',
            ),
        ),
        ("tests/integration/order/test_settling.py",),
    ),
    Mutation(
        "sent after the lease",
        "an operation is sent although its lease has expired",
        "apps/payment/executor.py",
        (("late = time.monotonic() >= operation.expires", "late = operation.attempts > 1_000_000"),),
        ("tests/integration/payment/test_actions.py",),
    ),
    Mutation(
        "a second charge is hidden",
        "the search for an operation at Stripe returns one result",
        "apps/payment/providers/stripe.py",
        (('"limit": SEARCHED}', '"limit": 1}'),),
        ("tests/integration/payment/providers/test_stripe.py",),
    ),
    Mutation(
        "carried out by another provider",
        "a payment is carried out by the provider that is configured now",
        "apps/payment/providers/__init__.py",
        (("    if operation.provider not in (None, provider.name):\n", "    if not provider.name:\n"),),
        ("tests/integration/payment/test_actions.py",),
    ),
    Mutation(
        "a repeated refund ignores wait",
        "a refund that is requested again under its key is answered at once, although its caller waits",
        "apps/order/service.py",
        (
            (
                'lambda row: row["status"] != "pending", deadline - time.monotonic())',
                'lambda row: earlier is not None or row["status"] != "pending", deadline - time.monotonic())',
            ),
        ),
        ("tests/integration/order/test_waiting.py",),
    ),
    Mutation(
        "adoption removed",
        "payment does not take back what only the provider knows after its database was restored",
        "apps/payment/service.py",
        (("adopted = self._adoption.adopt(operation.merchant, operation.payment_id)", "adopted = None"),),
        ("tests/integration/payment/test_restored_database.py::test_a_capture_of_a_forgotten_payment_adopts_it",),
        also=(("apps/payment/resync.py", "            self._adopt(batch, report)\n", ""),),
    ),
    Mutation(
        "a lost payment is awaited",
        "an order waits for a processing payment that payment has lost in a restore",
        "apps/order/resync.py",
        (("        self._lost(since - MARGIN)\n", ""),),
        ("tests/integration/order/test_resync.py::test_no_order_waits_for_a_payment_that_payment_has_lost",),
    ),
    Mutation(
        "versions fall behind",
        "a payment that is restored twice continues below the version that order knows",
        "apps/payment/resync.py",
        (("        adopted.raise_floor(self._database.session())\n", ""),),
        (
            "tests/integration/payment/test_restored_database.py"
            "::test_a_payment_that_is_restored_twice_does_not_fall_behind_what_order_knows",
        ),
    ),
    Mutation(
        "a declined return is final",
        "the return of an orphan's money keeps its idempotency key after the provider has declined it",
        "apps/order/resync.py",
        (("        orphans.count_decline(session, merchant, payment_id, declines)\n", "        pass\n"),),
        (
            "tests/integration/order/test_resync.py"
            "::test_money_that_could_not_be_returned_is_an_error_and_can_be_returned_later",
        ),
    ),
    Mutation(
        "what a void leaves is kept",
        "an orphan of which a part is captured counts as returned after its void",
        "apps/order/resync.py",
        (("    if now.held == 0:\n", "    if True:\n"),),
        (
            "tests/integration/order/test_resync.py"
            "::test_what_is_captured_of_an_authorized_payment_without_an_order_is_returned",
        ),
    ),
    Mutation(
        "the limit of refunds stops a cancel",
        "payment refuses the refund of a canceled order that has 1,000 refunds",
        "apps/payment/service.py",
        (
            (
                "operation.id, 201, operation, amount, headers, limited=not answered",
                "operation.id, 201, operation, amount, headers, limited=True",
            ),
        ),
        ("tests/integration/order/test_actions.py::test_an_order_with_a_thousand_refunds_can_be_canceled",),
    ),
)
