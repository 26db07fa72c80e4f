from __future__ import annotations

from flask import Flask

from tests.support.pair import ORDER, Pair


def purge(app: Flask) -> str:
    result = app.test_cli_runner().invoke(args=["purge"])
    assert result.exit_code == 0, result.output
    return result.output


def test_only_old_and_finished_rows_are_purged(pair: Pair) -> None:
    first = pair.order.post("/v1/orders", ORDER, "old", Prefer="wait=10").json()
    pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_timeout_lost"}, "open")
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
    again = pair.order.post("/v1/orders", ORDER, "old", Prefer="wait=10")
    assert (again.status_code, again.json()["id"] != first["id"]) == (201, True)
    assert len(pair.databases.charges(first["id"])) == 1
