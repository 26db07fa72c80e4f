"""If-Match on every change of a resource: it applies only to the version that the caller names."""

from __future__ import annotations

import re
import threading
import uuid
from typing import Any

import psycopg
import pytest
import requests

from tests.support.eventually import eventually
from tests.support.fixtures.per_module import databases, pair
from tests.support.pair import ORDER, Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused

__all__ = ["databases", "pair"]


def order(pair: Pair, **more: Any) -> dict[str, Any]:
    """Place an order and wait for its outcome."""
    made: dict[str, Any] = pair.order.post("/v1/orders", {**ORDER, **more}, Prefer="wait=10").json()
    assert made["status"] != "pending_payment"
    return made


def payment(pair: Pair, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = pair.payment.post("/v1/payments", wanted(**more)).json()
    return made


Case = tuple[Client, str, dict[str, Any], dict[str, Any] | None]

CASES = ["attempt", "capture order", "cancel", "refund order", "capture payment", "void", "refund payment"]


def case(pair: Pair, name: str) -> Case:
    """Return the client, the resource's path, the resource, and the change: the action's path and its body."""
    if name == "attempt":
        made = order(pair, payment_method="pm_declined")
        return pair.order, f"/v1/orders/{made['id']}", made, {"payment-attempts": {"payment_method": "pm_ok"}}
    if name in ("capture order", "cancel"):
        made = order(pair, capture="manual")
        return pair.order, f"/v1/orders/{made['id']}", made, {name.partition(" ")[0]: None}
    if name == "refund order":
        made = order(pair)
        return pair.order, f"/v1/orders/{made['id']}", made, {"refunds": {"amount": 1}}
    if name == "refund payment":
        made = payment(pair)
        return pair.payment, f"/v1/payments/{made['id']}", made, {"refunds": {"amount": 1}}
    made = payment(pair, capture="manual")
    return pair.payment, f"/v1/payments/{made['id']}", made, {name.partition(" ")[0]: None}


@pytest.fixture(params=CASES)
def change(request: pytest.FixtureRequest, pair: Pair) -> Case:
    return case(pair, request.param)


def do(change: Case, if_match: str, key: str | None = None) -> requests.Response:
    client, path, _, what = change
    ((action, body),) = (what or {}).items()
    return client.post(f"{path}/{action}", body, key, If_Match=if_match)


@pytest.mark.parametrize(
    "header",
    ['"0"', '"999"', 'W/"{}"', "{}", '"{}', '{}"', '"0", W/"{}"', "", '"{}" "0"', '"{}x"', "*, *", '"{}", x', "''"],
)
def test_another_version_than_the_named_one_is_412(pair: Pair, header: str) -> None:
    change = case(pair, "refund order")
    client, path, made, _ = change
    refused(do(change, header.replace("{}", str(made["version"]))), 412, "precondition-failed")
    assert client.get(path).json() == made


@pytest.mark.parametrize("header", ["*", '"{}"', '"0", "{}"', '"0" ,, "{}",', 'W/"{}", "{}"'])
def test_the_named_version_is_changed(pair: Pair, header: str) -> None:
    change = case(pair, "refund payment")
    assert do(change, header.replace("{}", str(change[2]["version"]))).status_code == 201


def test_every_change_supports_if_match_and_returns_the_new_etag(change: Case) -> None:
    client, path, made, what = change
    etag = client.get(path).headers["ETag"]
    assert etag == f'"{made["version"]}"'
    refused(do(change, '"1000"'), 412, "precondition-failed")
    assert client.get(path).headers["ETag"] == etag
    answer = do(change, etag)
    assert answer.status_code in (200, 201, 202), answer.text
    if "refunds" not in (what or {}):
        assert answer.headers["ETag"] == f'"{answer.json()["version"]}"' != etag
    assert answer.headers["ETag"].startswith('"')
    assert client.get(path).headers["ETag"] != etag


def test_the_openapi_documents_list_if_match_for_every_change(change: Case) -> None:
    client, path, made, what = change
    (action,) = what or {}
    paths = client.get("/openapi.json").json()["paths"]
    (operation,) = [
        item["post"] for name, item in paths.items() if re.sub("{.*}", made["id"], name) == f"{path}/{action}"
    ]
    assert {"$ref": "#/components/parameters/If-Match"} in operation["parameters"]
    assert "412" in operation["responses"]


def test_a_replay_ignores_if_match(change: Case) -> None:
    client, path, made, _ = change
    key, etag = str(uuid.uuid4()), f'"{made["version"]}"'
    first = do(change, etag, key)
    assert first.status_code < 300
    for header in (etag, '"0"', "nonsense"):
        again = do(change, header, key)
        assert (again.status_code < 300, again.headers["Idempotency-Replayed"]) == (True, "true")
    refused(do(change, etag), 412, "precondition-failed")


def test_a_412_does_not_use_up_the_idempotency_key(change: Case) -> None:
    key = str(uuid.uuid4())
    refused(do(change, '"0"', key), 412, "precondition-failed")
    answer = do(change, "*", key)
    assert answer.status_code < 300
    assert "Idempotency-Replayed" not in answer.headers


def test_a_missing_resource_is_404_whatever_the_condition(pair: Pair) -> None:
    missing = str(uuid.uuid4())
    for header in ("*", '"1"'):
        refused(pair.order.post(f"/v1/orders/{missing}/cancel", None, If_Match=header), 404, "order-not-found")
        refused(pair.payment.post(f"/v1/payments/{missing}/void", None, If_Match=header), 404, "payment-not-found")


@pytest.mark.parametrize("name", ["refund order", "refund payment"])
def test_only_one_of_many_changes_with_the_same_version_succeeds(pair: Pair, name: str) -> None:
    change = case(pair, name)
    etag = f'"{change[2]["version"]}"'
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(do(change, etag).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [201, *[412] * 7]


@pytest.mark.parametrize("name", ["cancel", "void"])
def test_if_match_is_compared_with_the_locked_row(pair: Pair, name: str) -> None:
    change = case(pair, name)
    client, path, made, _ = change
    service = "order" if client is pair.order else "payment"
    answers: list[requests.Response] = []
    request = threading.Thread(target=lambda: answers.append(do(change, f'"{made["version"]}"')))
    serving = pair.databases.service_url(service)  # only this role sees what its own sessions wait for
    with psycopg.connect(serving) as other, psycopg.connect(serving, autocommit=True) as watching:
        other.execute(f"UPDATE {service}s SET version = version + 1 WHERE id = %s".encode(), (made["id"],))
        request.start()
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        eventually(lambda: watching.execute(waits).rowcount == 1, "it waits for the row")
    request.join(30)
    refused(answers[0], 412, "precondition-failed")
