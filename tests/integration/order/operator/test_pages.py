"""What the operator's pages show, of whatever is in the databases, and while payment is down."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.databases import Databases
from tests.integration.eventually import eventually
from tests.integration.order.operator.desk import Desk, Page
from tests.integration.order.webhooks.receiver import Receiver, path_of, register, status
from tests.integration.pair import ORDER, Client, Pair
from tests.integration.proxy import Proxy
from tests.integration.settings import OTHER_KEY

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
BACKWARDS = "\u202eevil\u2066\u05d0\u05d1"


def place(pair: Pair, **change: Any) -> dict[str, Any]:
    answer = pair.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=5")
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


@pytest.fixture
def payment_down(pair: Pair) -> Iterator[None]:
    pair.stop_payment()
    yield
    pair.start_payment()


def test_the_newest_orders_of_all_merchants_are_shown(desk: Desk, pair: Pair) -> None:
    ours = place(pair, customer="cus_17")
    theirs = Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}).json()
    eventually(lambda: "card_declined" in desk.page("/operator").text, "the decline is shown")
    page = desk.page("/operator")
    assert page.links[ours["id"]] == f"/operator/orders/{ours['id']}?merchant=demo"
    assert page.links[theirs["id"]] == f"/operator/orders/{theirs['id']}?merchant=other"
    for text in ("cus_17", "9.00 EUR", "paid", "payment failed", "Payment service ready"):
        assert text in page.text


def test_orders_are_filtered_by_merchant_and_status_and_found_by_id(desk: Desk, pair: Pair) -> None:
    ours = place(pair)
    theirs = (
        Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=5").json()
    )
    shown = desk.page("/operator?merchant=other").links
    assert theirs["id"] in shown
    assert ours["id"] not in shown
    shown = desk.page("/operator?status=authorized&merchant=").links
    assert theirs["id"] in shown
    assert ours["id"] not in shown
    assert desk.page("/operator?merchant=nobody").text.count("None.") == 1
    found = desk.get(f"/operator?order={ours['id']}").headers["Location"]
    assert ours["id"] in desk.page(found).text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("merchant=no%20body", "No merchant can have this name."),
        ("merchant=%00", "No merchant can have this name."),
        ("merchant=%3Cscript%3E", "No merchant can have this name."),
        ("status=lost", "There is no such status."),
        ("order=17", "An order's id is a UUID"),
    ],
)
def test_what_cannot_be_is_said(desk: Desk, query: str, says: str) -> None:
    page = desk.page(f"/operator?{query}")
    assert says in page.text
    assert "script" not in page.tags


def test_pages_follow_one_another_without_gaps_or_repetitions(desk: Desk, pair: Pair, databases: Databases) -> None:
    merchant = "pages"
    for number in range(60):
        databases.query(
            "order",
            """INSERT INTO orders (merchant, id, status, created_at, currency, total_amount, items,
                                   payment_method, capture)
               VALUES (%s, %s, %s, %s, 'EUR', 0, '[]', 'pm_ok', 'automatic')""",
            merchant,
            uuid.uuid4(),
            ("paid", "canceled", "expired")[number % 3],
            # Several at the same moment: the id decides.
            datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 7),
        )
    there = [
        str(row["id"])
        for row in databases.query(
            "order", "SELECT id FROM orders WHERE merchant = %s ORDER BY created_at DESC, id DESC", merchant
        )
    ]
    seen: list[str] = []
    path = f"/operator?merchant={merchant}"
    for _ in range(3):
        page = desk.page(path)
        seen += [text for text, link in page.links.items() if link.startswith("/operator/orders/")]
        path = page.links.get("Older orders", "")
    assert path == ""
    assert seen == there


@pytest.mark.parametrize("cursor", ["x", "%00", "z" * 32, "A" * 31])
def test_a_cursor_that_is_not_ours_is_refused(desk: Desk, cursor: str) -> None:
    answer = desk.get(f"/operator?cursor={cursor}")
    assert answer.status_code == 422
    assert Page(answer.text).tags >= {"main", "h1"}


def test_an_orders_journey_goes_through_both_services_and_back(desk: Desk, pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url)
        order = place(pair, metadata={"cart": "9"})
        refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 450, "reason": "wet"}, Prefer="wait=5")
        assert refund.json()["status"] == "succeeded"
        eventually(lambda: "refund.succeeded" in receiver.types(), "the webhooks are told")
        eventually(
            lambda: desk.page(f"/operator/orders/{order['id']}").text.count("delivered, HTTP 204") >= 3, "and settled"
        )
        page = desk.page(f"/operator/orders/{order['id']}")
        pair.order.request("DELETE", path_of(endpoint))
    steps = page.text.partition("Every step")[2]
    for step in (
        "merchant order order.placed",
        "order payment payment.create",
        "payment provider sale",
        "payment payment ledger",
        "payment order order.paid",
        "order webhook order.paid",
        "merchant order payment.refund_requested",
        "order payment payment.refund",
        "payment provider refund",
        "payment order refund.succeeded",
    ):
        assert step in steps, step
        steps = steps.partition(step)[2]
    for text in (
        "debit provider_clearing 9.00 EUR, credit merchant_payable 9.00 EUR",
        "4.50 EUR",
        "wet",
        "cart",
        "sim_",
    ):
        assert text in page.text
    assert page.html.count("<polygon") >= 10
    assert "It waits for" not in page.text


def test_all_commands_of_an_order_are_found_that_has_changed_days_apart(
    desk: Desk, pair: Pair, databases: Databases
) -> None:
    order = place(pair, capture="manual")
    # The block range index alone leads to them: nothing else says which rows of the outbox are an order's.
    databases.query("order", "ALTER TABLE order_events DISABLE TRIGGER order_events_append_only")
    for table, of in (("order_events", "order_id"), ("outbox", "aggregate_id")):
        column = "at" if table == "order_events" else "created_at"
        databases.query(
            "order", f"UPDATE {table} SET {column} = {column} - interval '9 days' WHERE {of} = %s", order["id"]
        )
    pair.order.post(f"/v1/orders/{order['id']}/capture", Prefer="wait=5")
    page = desk.page(f"/operator/orders/{order['id']}")
    assert "order payment payment.create" in page.text
    assert "order payment payment.capture" in page.text


def test_what_an_order_waits_for_is_said(desk: Desk, pair: Pair, payment_down: None) -> None:
    order = pair.order.post("/v1/orders", ORDER).json()
    eventually(
        lambda: (
            "It waits for payment.create, from order to payment" in desk.page(f"/operator/orders/{order['id']}").text
        ),
        "it waits",
    )
    eventually(lambda: "payment: ConnectionError" in desk.page("/operator/pending").text, "and why")
    page = desk.page("/operator/pending")
    assert order["id"] in page.links
    assert page.text.count("payment.create") >= 2
    eventually(lambda: "breaker open" in desk.page("/operator/pending").text, "the breaker is open")


def test_webhooks_that_an_endpoint_does_not_take_are_pending(desk: Desk, pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url, events=["order.paid"])
        receiver.answer = status(500)
        place(pair)
        eventually(lambda: "answered 500" in desk.page("/operator/pending").text, "it is shown, and why")
        assert f"{endpoint['id']} demo" in desk.page("/operator/pending").text
        pair.order.request("DELETE", path_of(endpoint))
    assert endpoint["id"] not in desk.page("/operator/pending").text


def test_a_breaker_that_is_closed_is_not_worth_a_word(desk: Desk, pair: Pair) -> None:
    place(pair)
    eventually(lambda: "breaker open" not in desk.page("/operator").text, "the breaker is closed")


def test_while_payment_is_down_pages_say_so_and_show_all_that_order_knows(desk: Desk, pair: Pair) -> None:
    order = place(pair, customer="cus_down")
    pair.stop_payment()
    try:
        page = desk.page(f"/operator/orders/{order['id']}")
        assert "Payment has not told everything" in page.text
        for text in ("cus_down", "merchant order order.placed", "order payment payment.create", "Green tea"):
            assert text in page.text
        assert "payment provider sale" not in page.text
        assert order["payment"]["id"] in page.text
        assert "not reachable" in desk.page("/operator").text
        assert "not reachable" in desk.page("/operator/pending").text
        assert "Payment has not told anything" in desk.page("/operator/ledger?merchant=demo").text
        assert "Payment does not tell which faults are on" in desk.page("/operator/provider").text
        refused = desk.send("/operator/provider", {"token": desk.token, "decline": "on"})
        assert (refused.status_code, "not known whether" in refused.text) == (503, True)
        assert desk.get("/operator/dead-letters").status_code == 200
    finally:
        pair.start_payment()


def test_a_payment_service_that_hangs_holds_no_page_up_for_long(pair: Pair, desk_of: Callable[..., Desk]) -> None:
    order = place(pair)
    target = urlsplit(pair.payment.url)
    assert target.hostname
    assert target.port
    with Proxy(target.hostname, target.port) as proxy:
        desk = desk_of(PAYMENT_URL=proxy.url)
        desk.sign_in()
        assert "payment provider sale" in desk.page(f"/operator/orders/{order['id']}").text
        proxy.mode = "swallow_response"
        began = datetime.now()
        page = desk.page(f"/operator/orders/{order['id']}")
        assert (datetime.now() - began).total_seconds() < 8
        began = datetime.now()
        assert "not reachable" in desk.page("/operator").text
        assert (datetime.now() - began).total_seconds() < 5
        assert "Payment has not told everything" in page.text
        assert "order payment payment.create" in page.text


def test_pages_that_take_their_time_hold_up_neither_probes_nor_more_than_a_few_connections(
    pair: Pair, databases: Databases, desk_of: Callable[..., Desk]
) -> None:
    order = place(pair)
    target = urlsplit(pair.payment.url)
    assert target.hostname
    assert target.port
    with Proxy(target.hostname, target.port) as proxy, ThreadPoolExecutor(12) as crowd:
        desk = desk_of(PAYMENT_URL=proxy.url)
        desk.sign_in()
        proxy.mode = "swallow_response"
        cookies = desk.session.cookies.get_dict()
        url = f"{desk.url}/operator/orders/{order['id']}"
        answers = [crowd.submit(requests.get, url, cookies=cookies, timeout=60) for _ in range(12)]
        eventually(lambda: connections(databases) >= 4, "pages are being made")
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, connections(databases))
            assert desk.get("/livez").status_code == 200
            assert desk.get("/readyz").status_code == 200
        assert most == 4
        assert {answer.result().status_code for answer in answers} <= {200, 503}
    eventually(lambda: connections(databases) == 0, "they are closed")


def connections(databases: Databases) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'operator' AND datname = current_database()"
    found: int = databases.query("order", query)[0]["count"]
    return found


def test_hostile_data_is_shown_as_it_is_and_does_nothing(desk: Desk, pair: Pair) -> None:
    line = {"sku": HOSTILE[:60], "name": BACKWARDS + HOSTILE, "quantity": 1, "unit_amount": 450}
    long = "W" * 200
    order = place(pair, items=[line], customer=HOSTILE, metadata={HOSTILE[:30]: HOSTILE, "long": long})
    for path in ("/operator", f"/operator/orders/{order['id']}"):
        page = desk.page(path)
        assert HOSTILE in page.text
        assert not page.tags & {"script", "style", "iframe", "object"}
        assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
        assert page.html.count("<img") == 1
    assert BACKWARDS in page.text
    assert f"<bdi>{BACKWARDS}" in page.html
    assert long in page.text


def test_orders_of_the_sketchs_api_are_shown_too(desk: Desk, pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    body = {"id": order_id, "items": ["book", "pen"], "total": 19.5}
    for client in (pair.order, Client(pair.order.url, OTHER_KEY)):
        assert client.post("/orders", body).status_code == 201
    choice = desk.page(f"/operator/orders/{order_id}")
    assert f"Several merchants have an order {order_id}" in choice.text
    page = desk.page(f"/operator/orders/{order_id}?merchant=other")
    for text in ("book", "pen", "19.50 EUR", "Merchant other"):
        assert text in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/operator/orders/0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70",
        "/operator/orders/0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70?merchant=demo",
        "/operator/orders/17",
        "/operator/nothing",
    ],
)
def test_what_is_not_there_is_404_as_a_page(desk: Desk, path: str) -> None:
    answer = desk.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "To the newest orders" in answer.text


@pytest.mark.parametrize(
    "path", ["/operator", "/operator/sign-in", "/operator/nothing", "/operator/static/operator.css", "/operator/ledger"]
)
def test_every_answer_has_the_headers_that_keep_others_out(desk: Desk, stranger: Desk, path: str) -> None:
    for visitor in (desk, stranger):
        headers = visitor.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == ("no-cache, max-age=0" if "static" in path else "no-store")


def test_no_page_that_takes_input_refreshes_itself(desk: Desk, pair: Pair) -> None:
    order = place(pair)
    for path in ("/operator", "/operator/ledger", "/operator/provider", "/operator/dead-letters"):
        assert not desk.page(f"{path}?refresh=5").refreshes
    for path in ("/operator/pending", f"/operator/orders/{order['id']}"):
        assert desk.page(f"{path}?refresh=5").refreshes
        page = desk.page(path)
        assert not page.refreshes
        assert desk.page(page.links["Refresh every 5 s"]).refreshes


def test_the_trial_balance_is_zero_and_red_when_it_is_not(desk: Desk, pair: Pair, databases: Databases) -> None:
    place(pair)
    page = desk.page("/operator/ledger")
    assert "demo balances" in page.text
    assert "merchant_payable" in page.text
    assert "does not balance" not in page.text
    databases.query("payment", "ALTER TABLE ledger_entries DISABLE TRIGGER USER")
    (entry,) = databases.query("payment", "SELECT id FROM ledger_entries WHERE merchant = 'demo' LIMIT 1")
    try:
        databases.query("payment", "UPDATE ledger_entries SET amount = amount + 1 WHERE id = %s", entry["id"])
        page = desk.page("/operator/ledger?merchant=demo")
        assert "demo does not balance" in page.text
        assert "0.01 EUR" in page.text
    finally:
        databases.query("payment", "UPDATE ledger_entries SET amount = amount - 1 WHERE id = %s", entry["id"])
        databases.query("payment", "ALTER TABLE ledger_entries ENABLE TRIGGER USER")


def test_the_ledger_goes_from_merchant_to_merchant(desk: Desk, databases: Databases) -> None:
    for number in range(12):
        databases.query(
            "order",
            """INSERT INTO orders (merchant, id, status, currency, total_amount, items, payment_method, capture)
               VALUES (%s, %s, 'paid', 'EUR', 0, '[]', 'pm_ok', 'automatic')""",
            f"book-{number:02}",
            uuid.uuid4(),
        )
    seen = ""
    path = "/operator/ledger"
    while path:
        page = desk.page(path)
        seen += page.text
        path = page.links.get("More merchants", "")
    assert all(seen.count(f"Accounts of book-{number:02}:") == 1 for number in range(12))


def test_a_real_provider_has_no_switches(databases: Databases, pair: Pair, desk: Desk) -> None:
    payments = pair.payment_app.extensions["tandem"].use_cases["payments"]
    simulator = payments._provider
    try:
        payments._provider = type("Real", (), {"name": "real"})()
        page = desk.page("/operator/provider")
        assert "it has no faults to switch" in page.text
        assert [action for action, _ in page.forms] == ["/operator/sign-out"]
    finally:
        payments._provider = simulator


def test_while_the_order_database_is_away_pages_say_so_and_metrics_are_still_there(
    databases: Databases, desk_of: Callable[..., Desk]
) -> None:
    parts = urlsplit(databases.order)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port) as proxy:
        port = urlsplit(proxy.url).port
        away = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        desk = desk_of(DATABASE_URL=away)
        desk.sign_in()
        proxy.mode = "refuse"
        answer = desk.get("/operator")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "The order database does not answer" in answer.text
        assert desk.get("/livez").status_code == 200
        assert "database_up 0.0" in desk.get("/metrics").text.replace('{tandem="order"}', "")
        proxy.mode = "pass"
        assert desk.get("/operator").status_code == 200


def test_a_dead_webhook_shows_in_an_orders_journey(desk: Desk, pair: Pair, databases: Databases) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url)
        receiver.answer = status(410)
        order = place(pair)
        eventually(lambda: "dead, HTTP 410" in desk.page(f"/operator/orders/{order['id']}").text, "it is dead")
        assert receiver.url in desk.page(f"/operator/orders/{order['id']}").text
        pair.order.request("DELETE", path_of(endpoint))
