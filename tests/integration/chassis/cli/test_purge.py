from __future__ import annotations

import uuid

import psycopg
import pytest
from flask import Flask

from chassis.cli import commands
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY


def purge(app: Flask) -> str:
    result = app.test_cli_runner().invoke(args=["purge"])
    assert result.exit_code == 0, result.output
    return result.output


def test_only_old_and_finished_rows_are_purged(pair: Pair) -> None:
    first = pair.order.post("/v1/orders", ORDER, "old", Prefer="wait=10").json()
    simulator = Client(pair.payment.url, INTERNAL_KEY)
    assert simulator.request("PUT", "/v1/simulator/faults", json={"lost_requests_percent": 100}).status_code == 200
    pair.order.post("/v1/orders", ORDER, "open")
    assert "0 of idempotency_keys, 0 of outbox, 0 of inbox" in purge(pair.order_app)
    for service, tables in (("order", ("idempotency_keys", "outbox")), ("payment", ("idempotency_keys", "outbox"))):
        for table in tables:
            pair.databases.query(service, f"UPDATE {table} SET created_at = now() - interval '31 days'")
    pair.databases.query("order", "UPDATE inbox SET received_at = now() - interval '2 days'")
    undelivered = pair.databases.query("order", "SELECT count(*) FROM outbox WHERE delivered_at IS NULL")[0]["count"]
    purge(pair.order_app)
    purge(pair.payment_app)
    assert pair.databases.query("order", "SELECT key FROM idempotency_keys") == []
    assert pair.databases.query("order", "SELECT count(*) FROM outbox")[0]["count"] <= undelivered
    left = pair.databases.query(
        "payment",
        "SELECT p.status FROM idempotency_keys k JOIN payments p ON p.merchant = k.merchant AND p.id = k.resource_id",
    )
    assert {row["status"] for row in left} <= {"processing"}
    assert simulator.request("PUT", "/v1/simulator/faults", json={}).status_code == 200
    again = pair.order.post("/v1/orders", ORDER, "old", Prefer="wait=10")
    assert (again.status_code, again.json()["id"] != first["id"]) == (201, True)
    assert len(pair.databases.charges(first["id"])) == 1


KEYS = """INSERT INTO idempotency_keys (merchant, key, fingerprint, status, resource_id, created_at)
    SELECT 'demo', 'old ' || n, '', 201, gen_random_uuid(), now() - interval '31 days' FROM generate_series(1, 6) n"""


@pytest.mark.parametrize(("held", "left"), [("key = 'old 1'", 1), ("true", 6)], ids=["one", "all"])
@pytest.mark.parametrize("service", ["order", "payment"])
def test_rows_that_another_transaction_holds_are_left_to_the_next_purge(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, service: str, held: str, left: int
) -> None:
    monkeypatch.setattr(commands, "_STEP", 2)
    app = pair.order_app if service == "order" else pair.payment_app
    pair.databases.query(service, "DELETE FROM idempotency_keys")
    pair.databases.query(service, KEYS)
    count = "SELECT count(*) FROM idempotency_keys"
    with psycopg.connect(getattr(pair.databases, service)) as other:
        other.execute(f"SELECT FROM idempotency_keys WHERE {held} FOR UPDATE".encode())
        assert f"{6 - left} of idempotency_keys" in purge(app)
        assert pair.databases.query(service, count)[0]["count"] == left
    assert f"{left} of idempotency_keys" in purge(app)


def test_the_purge_does_not_wait_for_a_redelivery_which_would_wait_for_it(pair: Pair) -> None:
    endpoint = uuid.uuid4()
    pair.databases.query(
        "order",
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, created_at, settled_at)
           SELECT 'demo', %s, gen_random_uuid(), 'order.paid', '{}', 'delivered', now() - interval '31 days', now()
           FROM generate_series(1, 4)""",
        endpoint,
    )
    with psycopg.connect(pair.databases.order) as redelivery:
        again = f"""UPDATE webhook_deliveries SET status = 'pending', settled_at = NULL
                    WHERE endpoint_id = '{endpoint}' AND id ="""
        redelivery.execute(f"{again} (SELECT min(id::text)::uuid FROM webhook_deliveries)".encode())
        assert "3 of webhook_deliveries" in purge(pair.order_app)
        redelivery.execute(f"{again} (SELECT max(id::text)::uuid FROM webhook_deliveries)".encode())
    left = pair.databases.query("order", "SELECT status FROM webhook_deliveries WHERE endpoint_id = %s", endpoint)
    assert [row["status"] for row in left] == ["pending"]
    pair.databases.query("order", "DELETE FROM webhook_deliveries WHERE endpoint_id = %s", endpoint)


@pytest.mark.parametrize(
    ("capture", "action", "body", "kind"),
    [("automatic", "refunds", {"amount": 300}, "refund"), ("manual", "capture", {}, "capture")],
)
def test_the_key_of_an_operation_without_an_outcome_is_kept(
    pair: Pair, capture: str, action: str, body: dict[str, int], kind: str
) -> None:
    """Order repeats its command under the same key: without the key, payment would start a second operation."""
    simulator = Client(pair.payment.url, INTERNAL_KEY)
    order = pair.order.post("/v1/orders", {**ORDER, "capture": capture}, Prefer="wait=10").json()
    faults = "/v1/simulator/faults"
    assert simulator.request("PUT", faults, json={"lost_requests_percent": 100}).status_code == 200
    try:
        assert pair.order.post(f"/v1/orders/{order['id']}/{action}", body).status_code in (201, 202)
        pending = f"SELECT status FROM operations WHERE kind = '{kind}'"
        eventually(
            lambda: pair.databases.query("payment", pending) == [{"status": "pending"}], "payment has been asked"
        )
        eventually(
            lambda: not pair.databases.query("order", "SELECT FROM outbox WHERE delivered_at IS NULL"),
            "202 is received",
        )
        pair.databases.query("payment", "UPDATE idempotency_keys SET created_at = now() - interval '31 days'")
        purge(pair.payment_app)
        service = pair.order_app.extensions["tandem"]
        pair.databases.query(
            "order", "UPDATE outbox SET delivered_at = now() - interval '1 day' WHERE topic <> 'payment.create'"
        )
        pair.databases.query("order", "UPDATE orders SET swept_at = now() - interval '1 day'")
        pair.databases.query("order", "UPDATE refunds SET created_at = now() - interval '1 day'")
        service.use_cases["orders"].sweep(service.database.session(), 0.0, 0.0)
        eventually(
            lambda: not pair.databases.query("order", "SELECT FROM outbox WHERE delivered_at IS NULL"),
            "it is sent again",
        )
    finally:
        assert simulator.request("PUT", faults, json={}).status_code == 200
    done = f"SELECT status FROM operations WHERE kind = '{kind}'"
    eventually(lambda: pair.databases.query("payment", done) == [{"status": "succeeded"}], "there was one operation")
