"""Payment's database was restored from an older copy: it has forgotten payments that the provider has carried out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import uuid_utils
from click.testing import Result as CliResult
from msgspec.structs import replace
from requests import Response

from payment.ids import What, derive
from payment.model import Outcome, Record, Result
from payment.providers import ProviderFault
from payment.providers.simulator import Simulator
from tests.integration.payment.test_actions import authorized
from tests.support.eventually import eventually
from tests.support.fixtures.per_test import databases, pair
from tests.support.outbox import delivered
from tests.support.pair import ORDER, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused

__all__ = ["databases", "pair"]

FORGET = """
ALTER TABLE ledger_entries DISABLE TRIGGER USER;
DELETE FROM ledger_entries; DELETE FROM operations; DELETE FROM payments; DELETE FROM idempotency_keys;
DELETE FROM outbox;
ALTER TABLE ledger_entries ENABLE TRIGGER USER
"""
PURGE = "DELETE FROM idempotency_keys"


def new_key() -> str:
    return str(uuid_utils.uuid7())


def forget(pair: Pair) -> None:
    """Delete everything but the provider's records, once no event is on its way."""
    delivered(pair)
    pair.databases.query("payment", FORGET)


def records(pair: Pair) -> list[tuple[str, int]]:
    """Return kind and amount of what the provider has done."""
    done = "SELECT kind, amount FROM simulator.operations WHERE result = 'succeeded' ORDER BY at"
    return [(row["kind"], row["amount"]) for row in pair.databases.query("payment", done)]


def get(pair: Pair, payment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pair.payment.get(f"/v1/payments/{payment['id']}").json()
    return found


def operations(pair: Pair, payment: dict[str, Any]) -> list[tuple[Any, ...]]:
    listed = pair.payment.get(f"/v1/payments/{payment['id']}/operations").json()["data"]
    return [(each["id"], each["kind"], each["amount"], each["status"], each["provider_reference"]) for each in listed]


def amounts(payment: dict[str, Any]) -> dict[str, Any]:
    """Return what a payment is, without its version and the times of this database."""
    return {name: value for name, value in payment.items() if name not in ("version", "created_at", "updated_at")}


def balance(pair: Pair) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pair.payment.get("/v1/ledger/balances").json()["data"]
    return found


def resync(pair: Pair, since: timedelta = timedelta(hours=1)) -> CliResult:
    moment = (datetime.now(UTC) - since).isoformat()
    return pair.payment_app.test_cli_runner().invoke(args=["resync", "--since", moment])


def reconcile(pair: Pair) -> CliResult:
    until = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    return pair.payment_app.test_cli_runner().invoke(args=["reconcile", "--until", until])


@pytest.mark.parametrize("new_key", [new_key, lambda: str(uuid.uuid4()), lambda: f"order-{uuid.uuid4().hex[:20]}-x"])
def test_the_same_requests_charge_nothing_again(pair: Pair, new_key: Any) -> None:
    create, capture, refund = new_key(), new_key(), new_key()
    body = wanted(capture="manual")

    def ask() -> tuple[dict[str, Any], dict[str, Any]]:
        payment = pair.payment.post("/v1/payments", body, create).json()
        path = f"/v1/payments/{payment['id']}"
        assert pair.payment.post(f"{path}/capture", {"amount": 700}, capture).status_code == 200
        refunded = pair.payment.post(f"{path}/refunds", {"amount": 300}, refund)
        assert (refunded.status_code, refunded.json()["status"]) == (201, "succeeded")
        return get(pair, payment), refunded.json()

    first, refunded = ask()
    before, ledger = operations(pair, first), balance(pair)
    forget(pair)
    again, refunded_again = ask()
    assert amounts(again) == amounts(first)
    assert refunded_again["id"] == refunded["id"]
    assert operations(pair, again) == before
    assert balance(pair) == ledger
    assert records(pair) == [("authorize", 900), ("capture", 700), ("refund", 300)]
    assert pair.payment.get(f"/v1/payments/{first['id']}/provider").json() == {
        "captured_amount": 700,
        "refunded_amount": 300,
        "untold": 0,
        "missing": 0,
    }


def test_order_asks_again_and_the_customer_is_charged_once(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 200}, Prefer="wait=10")
    assert refund.json()["status"] == "succeeded"
    forget(pair)
    again = "UPDATE outbox SET delivered_at = NULL, available_at = now(), leased_until = NULL"
    pair.databases.query("order", again)
    delivered(pair, "order")
    payment = pair.payment.get(f"/v1/payments?order_id={order['id']}").json()["data"]
    assert [(each["id"], each["captured_amount"], each["refunded_amount"]) for each in payment] == [
        (order["payment"]["id"], 900, 200)
    ]
    assert records(pair) == [("sale", 900), ("refund", 200)]


def test_concurrent_requests_for_a_forgotten_payment_adopt_it_once(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted()).json()
    forget(pair)

    def refund(number: int) -> int:
        return pair.payment.post(
            f"/v1/payments/{payment['id']}/refunds", {"amount": 100}, f"refund-{number}"
        ).status_code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(refund, range(6)))
    assert set(answers) <= {201, 409, 503}, answers
    # On a busy machine, a lease may expire before its request sends the refund: the executor does.
    after = eventually(lambda: (now := get(pair, payment))["refunding_amount"] == 0 and now, "no refund is under way")
    assert (after["captured_amount"], after["refunded_amount"]) == (900, 100 * answers.count(201))
    assert len(records(pair)) == 1 + answers.count(201)


def test_the_original_api_charges_nothing_again(pair: Pair) -> None:
    body = {"order_id": str(uuid.uuid4()), "amount": 9.0}
    for _ in range(2):
        assert pair.payment.post("/payments", body).json() == {"status": "success"}
        forget(pair)
    assert records(pair) == [("sale", 900)]


def test_another_attempt_of_the_original_api_charges_nothing_again(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    body = {"order_id": order_id, "amount": 9.0}
    assert pair.payment.post("/v1/payments", wanted(order_id=order_id, payment_method="pm_declined")).json()
    pair.payment.post("/payments", {**body, "amount": -9.0})
    with mock.patch.object(Simulator, "send", return_value=Outcome(Result.DECLINED, None, "card_declined")):
        assert pair.payment.post("/payments", body).json() == {"status": "failed"}
    assert pair.payment.post("/payments", body).json() == {"status": "success"}
    assert pair.payment.post("/payments", body).json() == {"status": "success"}
    assert records(pair) == [("sale", 900)]


def test_a_capture_of_a_forgotten_payment_adopts_it(pair: Pair) -> None:
    key = new_key()
    payment = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    forget(pair)
    captured = pair.payment.post(f"/v1/payments/{payment['id']}/capture", {}, key)
    assert (captured.status_code, captured.json()["captured_amount"]) == (200, 900)
    assert captured.json()["order_id"] == payment["order_id"]
    assert captured.json()["created_at"][:16] == payment["created_at"][:16]
    assert records(pair) == [("authorize", 900), ("capture", 900)]
    forget(pair)
    again = pair.payment.post(f"/v1/payments/{payment['id']}/capture", {}, key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert amounts(again.json()) == amounts(captured.json())
    assert records(pair) == [("authorize", 900), ("capture", 900)]


def test_captures_in_parts_of_a_forgotten_payment_take_nothing_again(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    path, keys = f"/v1/payments/{payment['id']}/capture", [new_key() for _ in range(3)]
    parts = [{"amount": 300, "final": False}, {"amount": 200, "final": False}, {"amount": 100}]
    for key, part in zip(keys[:2], parts[:2], strict=True):
        pair.payment.post(path, part, key)
    forget(pair)
    again = pair.payment.post(path, parts[1], keys[1])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.json()["status"], again.json()["captured_amount"]) == ("authorized", 500)
    assert pair.payment.post(path, parts[2], keys[2]).json()["captured_amount"] == 600
    forget(pair)
    for key, part in zip(keys, parts, strict=True):
        again = pair.payment.post(path, part, key)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert (again.json()["status"], again.json()["captured_amount"]) == ("captured", 600)
    assert records(pair) == [("authorize", 900), ("capture", 300), ("capture", 200), ("capture", 100)]
    assert reconcile(pair).exit_code == 0


def test_a_forgotten_release_keeps_what_is_captured(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    path = f"/v1/payments/{payment['id']}"
    pair.payment.post(f"{path}/capture", {"amount": 300, "final": False})
    pair.payment.post(f"{path}/void", {})
    forget(pair)
    assert resync(pair).exit_code == 0
    assert (get(pair, payment)["status"], get(pair, payment)["captured_amount"]) == ("captured", 300)
    assert pair.payment.post(f"{path}/refunds", {}).json()["amount"] == 300
    assert reconcile(pair).exit_code == 0


def test_a_lost_capture_of_a_part_is_adopted_and_order_is_told(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    shown = f"/v1/orders/{order['id']}"
    for amount in (300, 200):
        pair.order.post(f"{shown}/capture", {"amount": amount, "final": False}, Prefer="wait=10")
    pair.databases.query(
        "payment",
        """ALTER TABLE ledger_entries DISABLE TRIGGER USER; ALTER TABLE payments DISABLE TRIGGER USER;
           DELETE FROM ledger_entries WHERE amount = 200; DELETE FROM operations WHERE amount = 200;
           DELETE FROM idempotency_keys; UPDATE payments SET captured_amount = 300, version = version - 2;
           ALTER TABLE ledger_entries ENABLE TRIGGER USER; ALTER TABLE payments ENABLE TRIGGER USER""",
    )
    assert resync(pair).exit_code == 0
    assert get(pair, order["payment"])["captured_amount"] == 500
    assert pair.order.post(f"{shown}/capture", {"amount": 100}, Prefer="wait=10").json()["paid_amount"] == 600
    assert records(pair) == [("authorize", 900), ("capture", 300), ("capture", 200), ("capture", 100)]


@pytest.mark.parametrize("action", ["void", "refunds"])
def test_a_void_or_refund_of_a_forgotten_payment_adopts_it(pair: Pair, action: str) -> None:
    capture = "manual" if action == "void" else "automatic"
    payment = pair.payment.post("/v1/payments", wanted(capture=capture)).json()
    forget(pair)
    key = new_key()
    for replayed in (None, "true"):
        done = pair.payment.post(f"/v1/payments/{payment['id']}/{action}", {}, key)
        assert done.status_code == (200 if action == "void" else 201)
        assert done.headers.get("Idempotency-Replayed") == replayed
        forget(pair)
    assert [kind for kind, _ in records(pair)][1:] == [action.removesuffix("s")]


def test_a_refund_with_a_reason_that_was_adopted_is_a_replay(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted(), new_key()).json()
    key, body = new_key(), {"amount": 300, "reason": "order canceled"}
    path = f"/v1/payments/{payment['id']}/refunds"
    made = pair.payment.post(path, body, key).json()
    forget(pair)
    resync = pair.payment_app.test_cli_runner()
    assert resync.invoke(args=["resync", "--since", "2020-01-01T00:00:00Z"]).exit_code == 0
    again = pair.payment.post(path, body, key)
    assert (again.status_code, again.json()["id"]) == (201, made["id"]), again.text
    assert [kind for kind, _ in records(pair)] == ["sale", "refund"]


def test_a_payment_that_the_provider_does_not_know_either_is_404(pair: Pair) -> None:
    for action in ("capture", "void", "refunds"):
        refused(pair.payment.post(f"/v1/payments/{uuid.uuid4()}/{action}", {}), 404, "payment-not-found")


def test_a_payment_that_the_provider_does_not_tell_of_is_503(pair: Pair) -> None:
    with mock.patch.object(Simulator, "records_of", side_effect=ProviderFault("no answer")):
        answer = pair.payment.post(f"/v1/payments/{uuid.uuid4()}/capture", {})
    refused(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_reading_a_forgotten_payment_is_404(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted()).json()
    forget(pair)
    refused(pair.payment.get(f"/v1/payments/{payment['id']}"), 404, "payment-not-found")


def test_resync_adopts_everything_with_the_same_ids_and_amounts(pair: Pair) -> None:
    paid = pair.payment.post("/v1/payments", wanted()).json()
    pair.payment.post(f"/v1/payments/{paid['id']}/refunds", {"amount": 100})
    pair.payment.post(f"/v1/payments/{paid['id']}/refunds", {"amount": 200})
    held = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    part = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    pair.payment.post(f"/v1/payments/{part['id']}/capture", {"amount": 500})
    void = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    pair.payment.post(f"/v1/payments/{void['id']}/void")
    declined = pair.payment.post("/v1/payments", wanted(payment_method="pm_declined")).json()
    every = [paid, held, part, void, declined]
    before = [get(pair, payment) for payment in every]
    done, ledger, provider = [operations(pair, payment) for payment in every], balance(pair), records(pair)
    forget(pair)
    result = resync(pair)
    assert result.exit_code == 0, result.output
    after = [get(pair, payment) for payment in every]
    assert [amounts(payment) for payment in after] == [amounts(payment) for payment in before]
    assert [sorted(operations(pair, payment)) for payment in every] == [sorted(each) for each in done]
    assert (balance(pair), records(pair)) == (ledger, provider)
    assert all(new["version"] > old["version"] + 1000 for new, old in zip(after, before, strict=True))
    assert ("payments adopted" + "5".rjust(28)) in result.output
    assert ("operations adopted" + "9".rjust(26)) in result.output
    assert reconcile(pair).exit_code == 0
    again = resync(pair)
    assert (again.exit_code, ("payments adopted" + "0".rjust(28)) in again.output) == (0, True)
    assert [amounts(get(pair, payment)) for payment in every] == [amounts(payment) for payment in before]


def test_after_resync_order_knows_what_payment_knows(pair: Pair) -> None:
    """Order has the newest state of the payment; its versions do not go backwards."""
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    payment_id = order["payment"]["id"]
    pair.databases.query("payment", "UPDATE payments SET version = version + 1")
    forget(pair)
    pair.databases.query("order", "UPDATE outbox SET delivered_at = now() WHERE delivered_at IS NULL")
    assert resync(pair).exit_code == 0
    pair.payment.post(f"/v1/payments/{payment_id}/capture", {})
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "order knows of it")


def test_resync_tells_order_again_what_it_was_told_after_the_moment_of_a_change_before_it(pair: Pair) -> None:
    """Order was away for a while when its database was lost, and the event waited for it."""
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    forget_at_order = "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    forget_at_order += "CREATE TRIGGER lose BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION lose()"
    pair.databases.query("order", forget_at_order)
    assert pair.payment.post(f"/v1/payments/{order['payment']['id']}/capture").status_code == 200
    pair.payment.post(f"/v1/payments/{order['payment']['id']}/refunds", {"amount": 100})
    pair.databases.query(
        "payment",
        "UPDATE outbox SET delivered_at = now(), lease_owner = NULL, leased_until = NULL WHERE delivered_at IS NULL",
    )
    pair.databases.query("order", "DROP TRIGGER lose ON orders")
    pair.databases.query(
        "payment",
        """ALTER TABLE payments DISABLE TRIGGER USER;
           UPDATE payments SET updated_at = now() - interval '2 hours';
           ALTER TABLE payments ENABLE TRIGGER USER""",
    )
    resync(pair)
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 100, "order is told")


def test_a_payment_that_is_restored_twice_does_not_fall_behind_what_order_knows(pair: Pair) -> None:
    """A resync gave the payment a new version; then the database is restored to a moment before that resync."""
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
    payment = order["payment"]["id"]
    before = pair.databases.query("payment", "SELECT version FROM payments")[0]["version"]
    resync(pair)
    told = "SELECT payment->>'version' AS version FROM orders"
    eventually(lambda: int(pair.databases.query("order", told)[0]["version"]) > before, "order knows the new version")
    restore = f"""ALTER TABLE payments DISABLE TRIGGER USER;
        UPDATE payments SET version = {before}, updated_at = now() - interval '3 hours';
        UPDATE outbox SET delivered_at = now() - interval '3 hours';
        ALTER TABLE payments ENABLE TRIGGER USER"""
    pair.databases.query("payment", restore)
    assert resync(pair).exit_code == 0
    for amount in (100, 200):
        assert pair.payment.post(f"/v1/payments/{payment}/refunds", {"amount": amount}).status_code == 201
    shown = f"/v1/orders/{order['id']}"
    eventually(lambda: pair.order.get(shown).json()["refunded_amount"] == 300, "order knows both refunds")


def test_resync_tells_order_again_what_it_has_missed(pair: Pair) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    with mock.patch.object(pair.payment_app.extensions["tandem"].use_cases["payments"]._gateway, "send"):
        pair.payment.post(f"/v1/payments/{order['payment']['id']}/capture", {})
        delivered(pair)  # the event is lost
    assert pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "authorized"
    assert resync(pair).exit_code == 0
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "order is told again")


def test_resync_settles_what_is_pending_here_and_known_there(pair: Pair) -> None:
    executor = pair.payment_app.extensions["tandem"].use_cases["payments"].executor
    payment = pair.payment.post("/v1/payments", wanted()).json()
    with mock.patch.object(executor, "execute", return_value=None):
        refund = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {}).json()
    assert refund["status"] == "pending"
    # Another refund was made before the restore, so this one was for less at the provider.
    pair.databases.query(
        "payment",
        """INSERT INTO simulator.operations (key, kind, merchant, payment_id, order_id, amount, currency,
               payment_method, charge, result, reference)
           SELECT %s, 'refund', merchant, payment_id, order_id, 600, currency,
               payment_method, reference, result, 'sim_r'
           FROM simulator.operations WHERE payment_id = %s""",
        refund["id"],
        payment["id"],
    )
    result = resync(pair)
    assert result.exit_code == 0, result.output
    after = get(pair, payment)
    assert (after["refunded_amount"], after["refunding_amount"]) == (600, 0)


def test_resync_lists_what_names_no_payment(pair: Pair) -> None:
    pair.payment.post("/v1/payments", wanted())
    pair.databases.query("payment", "UPDATE simulator.operations SET payment_id = NULL, order_id = NULL")
    assert resync(pair).exit_code == 0  # the operation is known by its id
    forget(pair)
    result = resync(pair)
    assert (result.exit_code, "names no payment of Tandem" in result.output) == (1, True)
    assert reconcile(pair).exit_code == 1


def test_resync_does_not_adopt_a_second_live_payment_of_an_order(pair: Pair) -> None:
    body = wanted()
    lost = pair.payment.post("/v1/payments", body).json()
    forget(pair)
    pair.payment.post("/v1/payments", body)  # under another key: nothing connects the two
    assert records(pair) == [("sale", 900)] * 2
    result = resync(pair)
    assert result.exit_code == 1
    assert lost["id"] in result.output
    assert "another payment" in result.output


def test_resync_without_the_provider_says_that_it_is_not_complete(pair: Pair) -> None:
    with mock.patch.object(Simulator, "records", side_effect=ProviderFault("no answer")):
        result = resync(pair)
    assert (result.exit_code, "not complete: no answer" in result.output) == (2, True)


def test_resync_needs_a_moment(pair: Pair) -> None:
    runner = pair.payment_app.test_cli_runner()
    assert runner.invoke(args=["resync"]).exit_code == 2
    assert "2030-01-31T12:00:00Z" in runner.invoke(args=["resync", "--since", "x"]).output


def test_a_repetition_after_the_purge_is_a_replay(pair: Pair) -> None:
    create, capture, refund = new_key(), new_key(), new_key()
    body = wanted(capture="manual")
    first = pair.payment.post("/v1/payments", body, create)
    path = f"/v1/payments/{first.json()['id']}"
    pair.payment.post(f"{path}/capture", {"amount": 700}, capture)
    refunded = pair.payment.post(f"{path}/refunds", {"amount": 300, "reason": "broken"}, refund)
    for _ in range(2):
        pair.databases.query("payment", PURGE)
        again = pair.payment.post("/v1/payments", body, create)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
        assert (again.json()["id"], again.json()["captured_amount"]) == (first.json()["id"], 700)
        again = pair.payment.post(f"{path}/capture", {"amount": 700}, capture)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
        again = pair.payment.post(f"{path}/refunds", {"amount": 300, "reason": "broken"}, refund)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
        assert again.json() == refunded.json()
    assert records(pair) == [("authorize", 900), ("capture", 700), ("refund", 300)]


def test_another_request_under_a_purged_key_is_422(pair: Pair) -> None:
    create, refund = new_key(), new_key()
    body = wanted()
    payment = pair.payment.post("/v1/payments", body, create).json()
    path = f"/v1/payments/{payment['id']}"
    pair.payment.post(f"{path}/refunds", {"amount": 300}, refund)
    other = pair.payment.post("/v1/payments", wanted(capture="manual")).json()
    requests: list[Callable[[], Response]] = [
        lambda: pair.payment.post("/v1/payments", {**body, "amount": 901}, create),
        lambda: pair.payment.post("/v1/payments", {**body, "capture": "manual"}, create),
        lambda: pair.payment.post("/v1/payments", wanted(), create),
        lambda: pair.payment.post("/v1/payments", wanted(), refund),
        lambda: pair.payment.post(f"{path}/refunds", {"amount": 301}, refund),
        lambda: pair.payment.post(f"{path}/refunds", {"amount": 300, "reason": "x"}, refund),
        lambda: pair.payment.post(f"{path}/refunds", {"amount": 300}, create),
        lambda: pair.payment.post(f"/v1/payments/{other['id']}/refunds", {"amount": 300}, refund),
        lambda: pair.payment.post(f"{path}/void", {}, refund),
        lambda: pair.payment.post(f"/v1/payments/{other['id']}/capture", {}, refund),
        lambda: pair.payment.post(f"/v1/payments/{other['id']}/void", {}, create),
    ]
    for request in requests:
        pair.databases.query("payment", PURGE)
        refused(request(), 422, "idempotency-key-reused")
    assert records(pair) == [("sale", 900), ("refund", 300), ("authorize", 900)]
    assert get(pair, payment)["refunding_amount"] == 0


def test_an_expiry_is_the_same_operation_after_a_restore(pair: Pair) -> None:
    key, body = new_key(), wanted(capture="manual")
    expired = "UPDATE payments SET expires_at = now(), version = version + 1 WHERE status = 'authorized'"
    seen = []
    for _ in range(2):
        payment = pair.payment.post("/v1/payments", body, key).json()
        pair.databases.query("payment", expired)
        eventually(lambda: get(pair, payment)["status"] == "expired", "it expires")  # noqa: B023
        seen.append(sorted(operations(pair, payment)))
        assert seen[-1] == seen[0]
        forget(pair)
    assert derive("demo", payment["id"], What.EXPIRY) in [row[0] for row in seen[0]]
    assert records(pair) == [("authorize", 900), ("void", 900)]
    assert resync(pair).exit_code == 0
    assert get(pair, payment)["status"] == "expired"


# What a restore to a moment after the authorization takes from payment's database.
FORGET_ALL_BUT_THE_AUTHORIZATION = """
ALTER TABLE ledger_entries DISABLE TRIGGER USER; ALTER TABLE payments DISABLE TRIGGER USER;
DELETE FROM ledger_entries; DELETE FROM operations WHERE kind <> 'authorize'; DELETE FROM idempotency_keys;
DELETE FROM outbox;
UPDATE payments SET status = 'authorized', captured_amount = 0, refunded_amount = 0, version = 2, busy = NULL;
ALTER TABLE ledger_entries ENABLE TRIGGER USER; ALTER TABLE payments ENABLE TRIGGER USER
"""


@pytest.mark.parametrize(
    ("actions", "status", "captured"),
    [
        (["capture 900"], "captured", 900),
        (["capture 400"], "captured", 400),
        (["capture 400", "refunds 100"], "captured", 400),
        (["part 300"], "captured", 300),
        (["part 300", "part 200"], "captured", 500),
        (["part 300", "void"], "captured", 300),
        (["void"], "voided", 0),
    ],
)
def test_an_authorization_that_expires_before_the_resync_keeps_what_was_captured(
    pair: Pair, actions: list[str], status: str, captured: int
) -> None:
    """The relay runs before the resync, and the database has forgotten the captures."""
    payment = authorized(pair)
    for action in actions:
        name, _, amount = action.partition(" ")
        body = {"amount": int(amount)} if amount else {}
        path = f"/v1/payments/{payment['id']}/{name.replace('part', 'capture')}"
        answer = pair.payment.post(path, body | ({"final": False} if name == "part" else {}))
        assert answer.status_code in (200, 201), answer.text
    delivered(pair)
    pair.databases.query("payment", FORGET_ALL_BUT_THE_AUTHORIZATION)
    pair.databases.query("payment", "UPDATE payments SET expires_at = now(), version = version + 1")
    eventually(lambda: get(pair, payment)["status"] == status, "it has ended")
    result = resync(pair)
    assert result.exit_code == 0, result.output
    assert (get(pair, payment)["status"], get(pair, payment)["captured_amount"]) == (status, captured)
    assert reconcile(pair).exit_code == 0
    refunded = get(pair, payment)["refunded_amount"]
    if captured > refunded:
        again = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {})
        assert (again.status_code, again.json()["status"]) == (201, "succeeded"), again.text
        assert again.json()["amount"] == captured - refunded


def test_an_expired_authorization_is_kept_while_the_provider_does_not_tell_its_records(pair: Pair) -> None:
    """The provider would decline a void of what it has captured, and the payment would end without its capture."""
    payment = authorized(pair)
    captured = pair.payment.post(f"/v1/payments/{payment['id']}/capture", {"amount": 900})
    assert captured.json()["status"] == "captured", captured.text
    delivered(pair)
    expire = "UPDATE payments SET expires_at = now(), version = version + 1"
    with mock.patch.object(Simulator, "records_of", side_effect=ProviderFault("away")) as asked:
        pair.databases.query("payment", FORGET_ALL_BUT_THE_AUTHORIZATION)
        pair.databases.query("payment", expire)
        postponed = "SELECT FROM payments WHERE expires_at > now() AND status = 'authorized' AND busy IS NULL"
        eventually(lambda: pair.databases.query("payment", postponed), "the provider is asked again later")
        assert asked.call_count == 1
    assert [kind for kind, _ in records(pair)] == ["authorize", "capture"]
    pair.databases.query("payment", expire)
    eventually(lambda: get(pair, payment)["status"] == "captured", "the capture is adopted")
    assert get(pair, payment)["captured_amount"] == 900
    assert resync(pair).exit_code == 0
    assert reconcile(pair).exit_code == 0


def test_reconcile_finds_what_only_the_provider_has_and_other_amounts(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted()).json()
    result = reconcile(pair)
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines() if "captured" in line] == [
        ["captured", "EUR", "900", "900"]
    ]
    pair.databases.query("payment", "UPDATE simulator.operations SET amount = 901")
    result = reconcile(pair)
    assert (result.exit_code, "901 EUR" in result.output) == (1, True)
    assert ["captured", "EUR", "900", "901"] in [line.split() for line in result.output.splitlines()]
    forget(pair)
    result = reconcile(pair)
    assert (result.exit_code, "nothing" in result.output) == (1, True)
    assert ["captured", "EUR", "0", "901"] in [line.split() for line in result.output.splitlines()]
    assert get(pair, payment)["status"] == 404


def test_reconcile_finds_a_second_charge_of_an_operation(pair: Pair) -> None:
    pair.payment.post("/v1/payments", wanted())
    real = Simulator.records

    def twice(self: Simulator, since: datetime, until: datetime) -> Iterator[Record]:
        for record in real(self, since, until):
            yield record
            yield replace(record, charge="sim_again", outcome=replace(record.outcome, reference="sim_again"))

    with mock.patch.object(Simulator, "records", twice):
        result = reconcile(pair)
    assert (result.exit_code, "2 times" in result.output) == (1, True)
    assert ["captured", "EUR", "900", "1800"] in [line.split() for line in result.output.splitlines()]


def test_reconcile_compares_an_old_operation_when_it_is_settled(pair: Pair) -> None:
    """A refund may be settled days after it was requested."""
    pair.payment.post("/v1/payments", wanted())
    for table in ("operations", "simulator.operations"):
        column = "created_at" if table == "operations" else "at"
        pair.databases.query("payment", f"UPDATE {table} SET {column} = now() - interval '3 days'")
    pair.databases.query("payment", "UPDATE simulator.operations SET result = 'declined'")
    assert reconcile(pair).exit_code == 1


def test_reconcile_without_the_provider_compares_nothing(pair: Pair) -> None:
    pair.payment.post("/v1/payments", wanted())
    fault = ProviderFault("no answer")
    with (
        mock.patch.object(Simulator, "records", side_effect=fault),
        mock.patch.object(Simulator, "lookup", side_effect=fault),
    ):
        assert reconcile(pair).exit_code == 2


def test_what_the_provider_has_no_record_of_is_not_what_it_does_not_tell(pair: Pair) -> None:
    payment = pair.payment.post("/v1/payments", wanted()).json()
    path = f"/v1/payments/{payment['id']}/provider"
    with mock.patch.object(Simulator, "lookup", side_effect=ProviderFault("no answer")):
        untold = pair.payment.get(path).json()
    pair.databases.query("payment", "DELETE FROM simulator.operations")
    missing = pair.payment.get(path).json()
    assert [(each["untold"], each["missing"]) for each in (untold, missing)] == [(1, 0), (0, 1)]


def test_a_new_payment_is_one_statement_and_one_settlement(pair: Pair) -> None:
    """The version of a payment counts its changes; nothing is adopted or looked up when nothing is wrong."""
    with (
        mock.patch.object(Simulator, "lookup", side_effect=AssertionError),
        mock.patch.object(Simulator, "records_of", side_effect=AssertionError),
    ):
        payment = pair.payment.post("/v1/payments", wanted()).json()
    assert (payment["status"], payment["version"]) == ("captured", 2)


def test_a_declined_payment_is_adopted_beside_the_live_payment_of_its_order(pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    declined = pair.payment.post("/v1/payments", wanted(order_id=order_id, payment_method="pm_declined")).json()
    paid = pair.payment.post("/v1/payments", wanted(order_id=order_id)).json()
    assert (declined["status"], paid["status"]) == ("failed", "captured")
    forget(pair)
    refund = pair.payment.post(f"/v1/payments/{paid['id']}/refunds", {"amount": 100})  # adopts the live payment first
    assert refund.json()["status"] == "succeeded"
    result = resync(pair)
    assert result.exit_code == 0, result.output
    assert amounts(get(pair, declined)) == amounts(declined)
    assert [each[3] for each in operations(pair, declined)] == ["declined"]
    assert reconcile(pair).exit_code == 0


def test_a_declined_payment_whose_method_the_provider_no_longer_names_is_the_same_payment(pair: Pair) -> None:
    """Stripe takes the method from a PaymentIntent that it declines, and names a method by another id than its token.

    Otherwise the command that created it would be refused for ever, and every later one of its order would wait for it.
    """
    order = pair.order.post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}, Prefer="wait=10").json()
    assert order["status"] == "payment_failed"
    forget(pair)
    pair.databases.query("payment", "UPDATE simulator.operations SET payment_method = 'unknown'")
    assert resync(pair).exit_code == 0
    again = "UPDATE outbox SET delivered_at = NULL, available_at = now(), leased_until = NULL"
    pair.databases.query("order", again)
    paid = pair.order.post(f"/v1/orders/{order['id']}/payment-attempts", {"payment_method": "pm_ok"})
    assert paid.status_code == 202, paid.text
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")
    assert records(pair) == [("sale", 900)]


FORGET_THE_OUTCOME = """
ALTER TABLE payments DISABLE TRIGGER USER; ALTER TABLE operations DISABLE TRIGGER USER;
UPDATE operations SET status = 'pending', settled_at = NULL, provider_reference = NULL;
UPDATE payments SET status = 'processing', authorized_amount = 0, provider_reference = NULL, version = 1;
ALTER TABLE payments ENABLE TRIGGER USER; ALTER TABLE operations ENABLE TRIGGER USER
"""


def commands(pair: Pair) -> list[str]:
    """Return the topics of the commands of order that are not the first payment."""
    sent = "SELECT topic FROM outbox WHERE topic <> 'payment.create' ORDER BY sequence"
    return [row["topic"] for row in pair.databases.query("order", sent)]


@pytest.mark.parametrize("number", [1, 2])
def test_a_cancel_before_the_resync_waits_for_the_capture_that_payment_has_forgotten(pair: Pair, number: int) -> None:
    """Payment refuses the refund because nothing is captured there: order knows better, and asks once."""
    manual = {**ORDER, "capture": "manual"}
    placed = [pair.order.post("/v1/orders", manual, Prefer="wait=10").json() for _ in range(number)]
    paths = [f"/v1/orders/{order['id']}" for order in placed]
    for path in paths:
        assert pair.order.post(f"{path}/capture", Prefer="wait=10").json()["status"] == "paid"
    delivered(pair)
    pair.databases.query("payment", FORGET_ALL_BUT_THE_AUTHORIZATION)
    pair.stop_payment()  # so the commands are sent together
    for path in paths:
        assert pair.order.post(f"{path}/cancel").json()["status"] == "canceling"
    pair.start_payment()
    refused = "SELECT FROM outbox WHERE last_error LIKE 'payment refused the command in a state that is older%'"
    eventually(lambda: len(pair.databases.query("order", refused)) == number, "payment has refused the commands")
    assert commands(pair) == ["payment.capture"] * number + ["payment.refund"] * number
    assert resync(pair).exit_code == 0
    pair.databases.query("order", "UPDATE outbox SET available_at = now()")
    for path in paths:
        eventually(lambda: pair.order.get(path).json()["status"] == "canceled", "it is canceled")  # noqa: B023
    assert commands(pair) == ["payment.capture"] * number + ["payment.refund"] * number
    assert sorted(records(pair)) == sorted([("authorize", 900), ("capture", 900), ("refund", 900)] * number)


@pytest.mark.parametrize(
    ("action", "command", "status"),
    [("cancel", "payment.void", "canceled"), ("capture", "payment.capture", "paid")],
)
def test_a_request_waits_for_the_authorization_whose_outcome_payment_has_forgotten(
    pair: Pair, action: str, command: str, status: str
) -> None:
    order = pair.order.post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=10").json()
    assert order["status"] == "authorized"
    with mock.patch.object(Simulator, "lookup", side_effect=ProviderFault("away")):
        pair.databases.query("payment", FORGET_THE_OUTCOME)
        pair.order.post(f"/v1/orders/{order['id']}/{action}", Prefer="wait=2")
        assert commands(pair) == [command]
    pair.databases.query("payment", "UPDATE operations SET available_at = now()")
    eventually(lambda: records(pair) and get(pair, order["payment"])["status"] == "authorized", "payment knows it")
    pair.databases.query("order", "UPDATE outbox SET available_at = now()")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == status, "it is carried out")
    assert commands(pair) == [command]
