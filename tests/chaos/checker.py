"""The invariants that must always hold. They are checked after the faults, from the public API and the databases only.

Each check compares what callers know with the final state, and reports violations as text. It counts what it looked
at, so that a check that saw nothing can be told from one that found nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import consumer, intents, orphans, told
from tests.chaos.consumer import Consuming
from tests.chaos.facts import Facts, Reconcile
from tests.chaos.log import Log, Request
from tests.chaos.workload import CARD_NUMBERS
from tests.support.databases import Databases
from tests.support.pair import Client

PENDING = {
    "order": {
        "outbox rows": "SELECT count(*) FROM outbox WHERE delivered_at IS NULL",
        "orders": "SELECT count(*) FROM orders WHERE status IN ('pending_payment', 'canceling')",
        "refunds": "SELECT count(*) FROM refunds WHERE status = 'pending'",
    },
    "payment": {
        "outbox rows": "SELECT count(*) FROM outbox WHERE delivered_at IS NULL",
        "operations": "SELECT count(*) FROM operations WHERE status = 'pending'",
        "payments": "SELECT count(*) FROM payments WHERE status = 'processing' OR busy IS NOT NULL"
        " OR refunding_amount <> 0",
    },
}

LEGAL = {
    None: {"pending_payment", "paid"},
    "pending_payment": {"paid", "authorized", "payment_failed", "canceling"},
    "payment_failed": {"pending_payment", "canceled"},
    "authorized": {"paid", "canceling", "expired"},
    "paid": {"refunded", "canceling"},
    "canceling": {"canceled", "paid", "authorized"},
}


@dataclass
class Finding:
    """The result for one invariant: what it says, how many things were checked, the violations, and a remark."""

    number: int
    says: str
    looked_at: int = 0
    wrong: list[str] = field(default_factory=list)
    note: str = ""


def pending(databases: Databases) -> dict[str, int]:
    """Return the number of pending rows by name. Empty if no work is pending."""
    found = {}
    for service, queries in PENDING.items():
        for name, query in queries.items():
            count = databases.query(service, query)[0]["count"]
            if count:
                found[f"{service}: {name}"] = count
    return found


class Checker:
    """Reads the databases once, then checks each invariant.

    `texts` are the logs and metrics, which must not contain card numbers. Without `reconcile` the commands are not run.
    `consumers` have read the events.
    """

    def __init__(
        self,
        log: Log,
        databases: Databases,
        order: Client,
        payment: Client,
        texts: list[Path],
        reconcile: Reconcile | None = None,
        consumers: Sequence[Consuming] = (),
    ) -> None:
        self._consumers = list(consumers)
        self._log, self._databases, self._texts, self._reconcile = log, databases, texts, reconcile
        self.facts = facts = Facts(log, databases, order, payment)
        self._clients = facts.clients
        self.orders, self.payments = facts.orders, facts.payments
        self.operations, self.provider = facts.operations, facts.provider

    def check(self) -> list[Finding]:
        """Check all invariants."""
        checks: list[tuple[str, Callable[[], Iterator[str | None]]]] = [
            ("every acknowledged order exists, with the acknowledged content", self._acknowledged),
            ("one idempotency key, at most one resource and one answer", self._keys),
            ("the provider charged each payment at most once", self._charges),
            ("0 <= refunded <= captured <= authorized, at the provider too", self._amounts),
            ("an order shows as paid exactly what its payment has captured", self._paid),
            ("a canceled order has net 0 at the provider", self._canceled),
            ("ledger: operations sum to zero, balances equal the provider's net", self._ledger),
            ("payment database = provider's record, operation by operation", self._provider),
            ("a payment that order asked for belongs to an order that exists", self._belongs),
            ("histories walk legal paths, versions without gaps", self._histories),
            ("nothing stays pending", self._pending),
            ("what ended in an error happened wholly or not at all", self._whole),
            ("no card number anywhere", self._cards),
            ("one intent, one command and one operation; attempts are bounded", lambda: intents.commands(self.facts)),
            ("order's amounts equal payment's, refunds add up", lambda: intents.amounts(self.facts)),
            ("what was told never goes backwards, every 202 ends visibly", lambda: told.told(self.facts)),
            (
                "no money without an order, reconcile finds nothing",
                lambda: orphans.orphans(self.facts, self._reconcile),
            ),
            (
                "every committed event arrives, once or with the same id, each order's in order",
                lambda: consumer.completeness(self.facts, self._consumers),
            ),
        ]
        findings = []
        for number, (says, check) in enumerate(checks, 1):
            finding = Finding(number, says)
            for wrong in check():
                finding.looked_at += 1
                if wrong is not None:
                    finding.wrong.append(wrong)
            findings.append(finding)
        findings[1].wrong += self._log.complaints
        findings[13].note = intents.most_of_any(self.facts)
        return findings

    def _acknowledged(self) -> Iterator[str | None]:
        requests = self._log.acknowledged("place")
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(self._compare, requests)
        for request in self._log.acknowledged("sketch order"):
            body = request.body or {}
            seen = self._clients[request.merchant][0].get(f"/orders/{body['id']}")
            same = seen.status_code == 200 and (seen.json()["items"], seen.json()["total"]) == (
                body["items"],
                body["total"],
            )
            yield None if same else f"sketch order {body['id']}: {seen.status_code} {seen.text[:200]}"

    def _compare(self, request: Request) -> str | None:
        assert request.answer is not None
        assert request.body is not None
        seen = self._clients[request.merchant][0].get(f"/v1/orders/{request.answer['id']}")
        if seen.status_code != 200:
            return f"order {request.answer['id']} was acknowledged and is {seen.status_code}"
        now = seen.json()
        for name in ("total_amount", "items", "currency", "capture", "created_at"):
            if now[name] != request.answer[name]:
                return f"order {now['id']}: {name} was {request.answer[name]} and is {now[name]}"
        wanted = [{"kind": "item", "name": None, "tax_amount": None, **item} for item in request.body["items"]]
        has = [{name: value for name, value in item.items() if name != "amount"} for item in now["items"]]
        if wanted != has or now["reference"] != request.body.get("reference"):
            return f"order {now['id']} has other items or another reference than were ordered"
        total = sum(item["quantity"] * item["unit_amount"] for item in wanted)
        return None if now["total_amount"] == total else f"order {now['id']} costs {now['total_amount']}, not {total}"

    def _keys(self) -> Iterator[str | None]:
        known: dict[tuple[str, str], set[str]] = {}
        for request in self._log.acknowledged("place", "replay"):
            assert request.answer is not None
            known.setdefault((request.merchant, request.key or ""), set()).add(request.answer["id"])
        for key, ids in known.items():
            yield None if len(ids) == 1 else f"key {key} was answered with {sorted(ids)}"
        made = {(row["merchant"], str(row["resource_id"])) for row in self.facts.keys}
        sketched = {(r.merchant, (r.body or {})["id"]) for r in self._log.requests if r.kind == "sketch order"}
        for merchant, order_id in self.orders:
            yield (
                None
                if (merchant, order_id) in made | sketched
                else f"order {order_id} was made by no key and no caller"
            )

    def _charges(self) -> Iterator[str | None]:
        charges: dict[str, int] = {}
        for operation in self.operations:
            record = self.provider.get(str(operation["id"]))
            # A payment is captured in parts, under several keys, and then by one final capture at most.
            if record and record["result"] == "succeeded" and record["kind"] in ("sale", "capture") and record["final"]:
                payment_id = str(operation["payment_id"])
                charges[payment_id] = charges.get(payment_id, 0) + 1
        for payment in self.payments:
            count = charges.get(str(payment["id"]), 0)
            yield None if count <= 1 else f"payment {payment['id']} was charged {count} times"

    def _amounts(self) -> Iterator[str | None]:
        for p in self.payments:
            holds = (
                0 <= p["refunded_amount"] <= p["refunded_amount"] + p["refunding_amount"] <= p["captured_amount"]
                and p["captured_amount"] <= p["authorized_amount"]
            )
            yield None if holds else f"payment {p['id']}: amounts {p}"
        sums: dict[str, dict[str, int]] = {}
        for record in self.provider.values():
            if record["result"] == "succeeded":
                charge = sums.setdefault(record["charge"] or record["reference"], {})
                charge[record["kind"]] = charge.get(record["kind"], 0) + record["amount"]
        for name, by_kind in sums.items():
            authorized = by_kind.get("authorize", 0) + by_kind.get("sale", 0)
            captured = by_kind.get("capture", 0) + by_kind.get("sale", 0)
            holds = by_kind.get("refund", 0) <= captured <= authorized
            yield None if holds else f"the provider's charge {name}: {by_kind}"

    def _of_order(self, merchant: str, order_id: str) -> list[dict[str, Any]]:
        return [p for p in self.payments if p["merchant"] == merchant and str(p["order_id"]) == order_id]

    def _paid(self) -> Iterator[str | None]:
        by_order: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for payment in self.payments:
            by_order.setdefault((payment["merchant"], str(payment["order_id"])), []).append(payment)
        for key, order in self.orders.items():
            if order["total_amount"] == 0:
                yield None if order["status"] in ("paid", "canceled") else f"free order {key[1]} is {order['status']}"
                continue
            captured = [
                p
                for p in by_order.get(key, [])
                if (p["amount"], p["currency"]) == (order["total_amount"], order["currency"]) and p["captured_amount"]
            ]
            held = [p["captured_amount"] for p in captured if p["refunded_amount"] < p["captured_amount"]]
            is_paid = order["status"] == "paid" or (order["status"] == "authorized" and order["paid_amount"] > 0)
            agrees = held == [order["paid_amount"]] if is_paid else not held
            agrees = agrees and (order["status"] != "refunded" or bool(captured))
            yield None if agrees else f"order {key[1]} is {order['status']}, its payments: {by_order.get(key)}"

    def _net(self) -> dict[str, int]:
        """Return the captured minus the refunded amount at the provider, by payment."""
        net: dict[str, int] = {}
        for operation in self.operations:
            record = self.provider.get(str(operation["id"]))
            if record and record["result"] == "succeeded" and record["kind"] in ("sale", "capture", "refund"):
                sign = -1 if record["kind"] == "refund" else 1
                payment_id = str(operation["payment_id"])
                net[payment_id] = net.get(payment_id, 0) + sign * record["amount"]
        return net

    def _canceled(self) -> Iterator[str | None]:
        net = self._net()
        totals: dict[tuple[str, str], int] = {}
        for payment in self.payments:
            key = (payment["merchant"], str(payment["order_id"]))
            totals[key] = totals.get(key, 0) + net.get(str(payment["id"]), 0)
        for key, order in self.orders.items():
            if order["status"] in ("canceled", "refunded", "expired", "payment_failed"):
                left = totals.get(key, 0)
                yield None if left == 0 else f"order {key[1]} is {order['status']} and {left} are at the provider"

    def _ledger(self) -> Iterator[str | None]:
        for row in self._databases.query(
            "payment",
            """SELECT operation_id, sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)::bigint AS sum
               FROM ledger_entries GROUP BY merchant, operation_id""",
        ):
            yield None if row["sum"] == 0 else f"operation {row['operation_id']}: its entries sum to {row['sum']}"
        net: dict[tuple[str, str], int] = {}
        for record in self.provider.values():
            if record["result"] == "succeeded" and record["kind"] in ("sale", "capture", "refund"):
                whose = (record["merchant"], record["currency"])
                net[whose] = net.get(whose, 0) + (-1 if record["kind"] == "refund" else 1) * record["amount"]
        for merchant, (_, payment) in self._clients.items():
            balances = payment.get("/v1/ledger/balances").json()["data"]
            booked = {(row["account"], row["currency"]): row["balance"] for row in balances}
            for currency in {currency for of, currency in net if of == merchant}:
                taken = net[merchant, currency]
                both = (booked.get(("provider_clearing", currency)), booked.get(("merchant_payable", currency)))
                yield (
                    None
                    if both == (taken, -taken)
                    else f"{merchant} {currency}: the provider has {taken}, the ledger {both}"
                )

    def _provider(self) -> Iterator[str | None]:
        for operation in self.operations:
            record = self.provider.get(str(operation["id"]))
            ours = (operation["status"], operation["kind"], operation["amount"], operation["currency"])
            theirs = record and (record["result"], record["kind"], record["amount"], record["currency"])
            yield None if ours == theirs else f"operation {operation['id']}: we have {ours}, the provider {theirs}"
        ours_too = {str(operation["id"]) for operation in self.operations}
        for key in self.provider:
            yield None if key in ours_too else f"the provider knows an operation that we do not: {key}"

    def _belongs(self) -> Iterator[str | None]:
        asked = {(row["merchant"], str(row["id"])): row for row in self.facts.outbox}
        others = {(r.merchant, r.key) for r in self._log.requests if r.kind == "third party"}
        rows = self._databases.query(
            "payment",
            """SELECT o.merchant, o.idempotency_key, p.order_id FROM operations o
               JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
               WHERE o.kind IN ('sale', 'authorize') AND o.idempotency_key IS NOT NULL""",
        )
        for row in rows:
            if (row["merchant"], row["idempotency_key"]) in others:
                continue
            command = asked.get((row["merchant"], row["idempotency_key"]))
            exists = (row["merchant"], str(row["order_id"])) in self.orders
            yield None if command and exists else f"a payment for order {row['order_id']} that nobody placed"

    def _histories(self) -> Iterator[str | None]:
        histories: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for event in self._databases.query("order", "SELECT * FROM order_events ORDER BY version"):
            histories.setdefault((event["merchant"], str(event["order_id"])), []).append(event)
        for key, order in self.orders.items():
            yield self._wrong_history(order, histories.get(key, []))
        for payment in self.payments:
            # Payments have no history other than their version.
            yield None if payment["version"] >= 1 else f"payment {payment['id']} has version {payment['version']}"

    def _wrong_history(self, order: dict[str, Any], events: list[dict[str, Any]]) -> str | None:
        versions = [event["version"] for event in events]
        if versions != list(range(1, order["version"] + 1)):
            return f"order {order['id']} has version {order['version']} and events {versions}"
        before = None
        for event in events:
            if event["from_status"] != before and before is not None:
                return f"order {order['id']}: version {event['version']} starts from {event['from_status']}"
            after = event["to_status"]
            if after != before and after not in LEGAL.get(before, set()):
                return f"order {order['id']} went from {before} to {after}"
            before = after
        return None if before == order["status"] else f"order {order['id']}: its history ends in {before}"

    def _pending(self) -> Iterator[str | None]:
        left = pending(self._databases)
        for service, queries in PENDING.items():
            for name in queries:
                count = left.get(f"{service}: {name}")
                yield f"{count} {service} {name} are still pending" if count else None
        for order in self.orders.values():
            if order["status"] in ("pending_payment", "canceling"):
                yield f"order {order['id']} is {order['status']}: {self._story(order)}"

    def _story(self, order: dict[str, Any]) -> str:
        """Return the history of an order for debugging."""
        key = (order["merchant"], order["id"])
        events = self._databases.query(
            "order", "SELECT * FROM order_events WHERE merchant = %s AND order_id = %s ORDER BY version", *key
        )
        refunds = self._databases.query(
            "order", "SELECT * FROM refunds WHERE merchant = %s AND order_id = %s ORDER BY id", *key
        )
        told = [f"{event['at']:%H:%M:%S.%f} {event['type']} {event['data']}" for event in events]
        told += [f"refund {r['id']} {r['amount']} {r['status']} {r['failure_reason']}" for r in refunds]
        told += [
            f"operation {o['id']} {o['kind']} {o['amount']} {o['status']} {o['reason']} {o['idempotency_key']}"
            for p in self._of_order(order["merchant"], str(order["id"]))
            for o in self.operations
            if o["payment_id"] == p["id"]
        ]
        return "\n           ".join(["", *told, f"knows {order['payment']}"])

    def _whole(self) -> Iterator[str | None]:
        """Check that no order, refund or idempotency key exists only in part."""
        events = {
            (row["merchant"], str(row["order_id"]))
            for row in self._databases.query("order", "SELECT merchant, order_id FROM order_events WHERE version = 1")
        }
        rows = self.facts.outbox
        commands = {(row["merchant"], str(row["aggregate_id"])) for row in rows if row["topic"] == "payment.create"}
        forgotten = {key for key, order in self.orders.items() if order["status"] == "canceled"}
        for key, order in self.orders.items():
            has_command = key in commands or order["total_amount"] == 0 or key in forgotten
            yield None if key in events and has_command else f"order {key[1]} is there in part"
        keys = {(row["merchant"], row["key"]): row for row in self.facts.keys}
        for request in self._log.requests:
            if request.kind == "place" and request.status is None:
                row = keys.get((request.merchant, request.key or ""))
                whole = row is None or (request.merchant, str(row["resource_id"])) in self.orders
                yield None if whole else f"the key {request.key} stands for nothing"
        outbox = {str(row["id"]) for row in rows}
        done = {row["idempotency_key"]: row for row in self.operations if row["kind"] == "refund"}
        for refund in self._databases.query("order", "SELECT * FROM refunds"):
            operation = done.get(str(refund["id"]))
            agrees = (
                operation is not None
                and {"succeeded": "succeeded", "declined": "failed"}.get(operation["status"]) == refund["status"]
            ) or (operation is None and refund["status"] == "failed")
            yield (
                None
                if str(refund["id"]) in outbox and agrees
                else f"refund {refund['id']} is {refund['status']} in order, in payment: {operation}"
            )

    def _cards(self) -> Iterator[str | None]:
        for service in ("order", "payment"):
            tables = self._databases.query(
                service,
                """SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
                   WHERE schemaname NOT IN ('pg_catalog', 'information_schema')""",
            )
            for table in tables:
                for number in CARD_NUMBERS:
                    found = self._databases.query(
                        service, f"SELECT count(*) FROM {table['name']} t WHERE t::text LIKE %s", f"%{number}%"
                    )
                    yield f"{service}: a card number in {table['name']}" if found[0]["count"] else None
        for path in self._texts:
            text = path.read_text(errors="replace")
            for number in CARD_NUMBERS:
                yield f"a card number in {path.name}" if number in text else None
