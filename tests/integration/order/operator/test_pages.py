"""What the operator's pages show, with unusual data, and while payment or the database is down."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
import requests

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.operator_client import Desk, Page
from tests.support.pair import ORDER, Client, Pair
from tests.support.proxy import Proxy
from tests.support.settings import OTHER_KEY
from tests.support.webhook_receiver import Receiver, path_of, register, status

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


def test_the_newest_orders_of_all_merchants_are_shown(operator: Desk, pair: Pair) -> None:
    own = place(pair, customer="cus_17")
    other = Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**ORDER, "payment_method": "pm_declined"}).json()
    eventually(lambda: "card_declined" in operator.page("/operator").text, "the failure reason is shown")
    page = operator.page("/operator")
    assert page.links[own["id"]] == f"/operator/orders/{own['id']}?merchant=demo"
    assert page.links[other["id"]] == f"/operator/orders/{other['id']}?merchant=other"
    for text in ("cus_17", "9.00 EUR", "paid", "payment failed", "Payment service ready"):
        assert text in page.text


def test_orders_are_filtered_by_merchant_and_status_and_found_by_id(operator: Desk, pair: Pair) -> None:
    own = place(pair)
    other = Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=5").json()
    shown = operator.page("/operator?merchant=other").links
    assert other["id"] in shown
    assert own["id"] not in shown
    shown = operator.page("/operator?status=authorized&merchant=").links
    assert other["id"] in shown
    assert own["id"] not in shown
    assert operator.page("/operator?merchant=nobody").text.count("None.") == 1
    found = operator.get(f"/operator?order={own['id']}").headers["Location"]
    assert own["id"] in operator.page(found).text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("merchant=no%20body", "This is not a valid merchant name."),
        ("merchant=%00", "This is not a valid merchant name."),
        ("merchant=%3Cscript%3E", "This is not a valid merchant name."),
        ("status=lost", "Unknown status."),
        ("order=17", "An order id is a UUID"),
        ("customer=%00", "A customer has up to 100 characters."),
        (f"customer={'c' * 101}", "A customer has up to 100 characters."),
        ("reference=%00", "A reference has up to 100 characters."),
    ],
)
def test_an_invalid_filter_is_reported(operator: Desk, query: str, message: str) -> None:
    page = operator.page(f"/operator?{query}")
    assert message in page.text
    assert page.scripts == ["/operator/static/refresh.js"]


def test_orders_are_found_by_customer_in_all_merchants(operator: Desk, pair: Pair) -> None:
    customer = f"cus {uuid.uuid4()} <&>"
    other_client = Client(pair.order.url, OTHER_KEY)
    own = [place(pair, customer=customer)["id"] for _ in range(2)]
    other = other_client.post(
        "/v1/orders", {**ORDER, "customer": customer, "capture": "manual"}, Prefer="wait=5"
    ).json()
    stranger = place(pair, customer=f"{customer}2")["id"]

    def found(**query: str) -> list[str]:
        address = f"/operator?{urlencode({'customer': customer, **query})}"
        return [text for text, link in operator.page(address).links.items() if link.startswith("/operator/orders/")]

    assert found() == [other["id"], *reversed(own)]
    assert stranger not in found()
    assert found(merchant="demo") == [*reversed(own)]
    assert found(status="authorized") == [other["id"]]
    assert found(merchant="demo", status="authorized") == []


def test_orders_are_found_by_reference_in_all_merchants(operator: Desk, pair: Pair) -> None:
    reference = f"A {uuid.uuid4()} <&>"
    body = {**ORDER, "reference": reference, "customer": "cus_17"}
    own = pair.order.post("/v1/orders", body).json()["id"]
    other = Client(pair.order.url, OTHER_KEY).post("/v1/orders", {**body, "customer": "cus_18"}).json()["id"]
    place(pair, reference=f"{reference}2")

    def found(**query: str) -> list[str]:
        address = f"/operator?{urlencode({'reference': reference, **query})}"
        page = operator.page(address)
        assert "with this reference, newest first" in page.text
        return [text for text, link in page.links.items() if link.startswith("/operator/orders/")]

    assert found() == [other, own]
    assert found(merchant="demo") == [own]
    assert found(customer="cus_18") == [other]
    assert found(customer="cus_18", merchant="demo") == []
    assert reference in operator.page(f"/operator/orders/{own}?merchant=demo").text


def test_a_customers_orders_are_paged(operator: Desk, databases: Databases) -> None:
    for number in range(60):
        databases.query(
            "order",
            """INSERT INTO orders (merchant, id, status, created_at, currency, total_amount, items,
                                   payment_method, capture, customer)
               VALUES (%s, gen_random_uuid(), 'paid', %s, 'EUR', 0, '[]', 'pm_ok', 'automatic', 'cus paged')""",
            f"paged-{number % 3}",
            datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 7),
        )
    seen: list[str] = []
    path = "/operator?customer=cus+paged"
    while path:
        page = operator.page(path)
        seen += [text for text, link in page.links.items() if link.startswith("/operator/orders/")]
        path = page.links.get("Older orders", "")
    assert (len(seen), len(set(seen))) == (60, 60)


def test_the_newest_position_of_the_feed_is_shown(operator: Desk, pair: Pair, databases: Databases) -> None:
    place(pair)
    (row,) = databases.query("order", "SELECT max(position) AS position FROM order_events")
    eventually(
        lambda: f"Feed of events {row['position']} newest position" in operator.page("/operator/pending").text,
        "the position is shown",
    )


def test_counters_and_pending_webhooks_link_to_what_they_count(operator: Desk, pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url, events=["order.paid"])
        receiver.answer = status(500)
        order = place(pair)
        eventually(lambda: endpoint["id"] in operator.page("/operator/pending").links, "the webhook is pending")
        page = operator.page(operator.page("/operator/pending").links[endpoint["id"]])
        assert receiver.url in page.text
        assert order["id"] in page.links
        pair.order.request("DELETE", path_of(endpoint))
    html = operator.page("/operator").html
    pending_page = operator.page("/operator/pending").html
    for anchor in ("orders", "refunds", "orphans", "commands", "webhooks"):
        assert f'href="/operator/pending#{anchor}"' in html
        assert f'id="{anchor}"' in pending_page


def test_paging_returns_every_order_once(operator: Desk, pair: Pair, databases: Databases) -> None:
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
            # Several orders have the same time; then the id decides.
            datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 7),
        )
    expected = [
        str(row["id"])
        for row in databases.query(
            "order", "SELECT id FROM orders WHERE merchant = %s ORDER BY created_at DESC, id DESC", merchant
        )
    ]
    seen: list[str] = []
    path = f"/operator?merchant={merchant}"
    for _ in range(3):
        page = operator.page(path)
        seen += [text for text, link in page.links.items() if link.startswith("/operator/orders/")]
        path = page.links.get("Older orders", "")
    assert path == ""
    assert seen == expected


@pytest.mark.parametrize("cursor", ["x", "%00", "z" * 32, "A" * 31])
def test_an_invalid_cursor_is_refused(operator: Desk, cursor: str) -> None:
    answer = operator.get(f"/operator?cursor={cursor}")
    assert answer.status_code == 422
    assert Page(answer.text).tags >= {"main", "h1"}


def test_an_orders_journey_has_the_steps_of_both_services(operator: Desk, pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url)
        order = place(pair, metadata={"cart": "9"})
        refund = pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 450, "reason": "wet"}, Prefer="wait=5")
        assert refund.json()["status"] == "succeeded"
        eventually(lambda: "refund.succeeded" in receiver.types(), "the webhooks have arrived")
        eventually(
            lambda: operator.page(f"/operator/orders/{order['id']}").text.count("delivered, HTTP 204") >= 3,
            "the deliveries are recorded",
        )
        page = operator.page(f"/operator/orders/{order['id']}")
        pair.order.request("DELETE", path_of(endpoint))
    steps = page.text.partition("All steps")[2]
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
    assert "Waiting for" not in page.text


def test_commands_of_an_order_are_found_even_if_they_are_days_apart(
    operator: Desk, pair: Pair, databases: Databases
) -> None:
    order = place(pair, capture="manual")
    # Delivered outbox rows have no index by order: they are found by time, near the events.
    databases.query("order", "ALTER TABLE order_events DISABLE TRIGGER order_events_append_only")
    for table, of in (("order_events", "order_id"), ("outbox", "aggregate_id")):
        column = "at" if table == "order_events" else "created_at"
        databases.query(
            "order", f"UPDATE {table} SET {column} = {column} - interval '9 days' WHERE {of} = %s", order["id"]
        )
    pair.order.post(f"/v1/orders/{order['id']}/capture", Prefer="wait=5")
    page = operator.page(f"/operator/orders/{order['id']}")
    assert "order payment payment.create" in page.text
    assert "order payment payment.capture" in page.text


def test_the_page_shows_a_partial_capture_and_what_the_provider_declined_last(operator: Desk, pair: Pair) -> None:
    order = place(pair, capture="manual", payment_method="pm_refund_declined")
    assert "Last error" not in operator.page(f"/operator/orders/{order['id']}").text
    pair.order.post(f"/v1/orders/{order['id']}/capture", {"amount": 400}, Prefer="wait=10")
    pair.order.post(f"/v1/orders/{order['id']}/cancel", Prefer="wait=10")
    page = operator.page(f"/operator/orders/{order['id']}")
    assert "Paid 4.00 EUR" in page.text
    assert "Last error The payment provider declined the refund: refund_declined." in page.text
    assert "capture_amount 4.00 EUR" in page.text


def test_the_page_says_what_an_order_waits_for(operator: Desk, pair: Pair, payment_down: None) -> None:
    order = pair.order.post("/v1/orders", ORDER).json()
    eventually(
        lambda: (
            "Waiting for payment.create, from order to payment" in operator.page(f"/operator/orders/{order['id']}").text
        ),
        "it waits",
    )
    eventually(lambda: "payment: ConnectionError" in operator.page("/operator/pending").text, "the error is shown")
    page = operator.page("/operator/pending")
    assert order["id"] in page.links
    assert page.text.count("payment.create") >= 2
    eventually(lambda: "circuit breaker open" in operator.page("/operator/pending").text, "the circuit breaker is open")


def test_payments_without_an_order_are_shown_until_their_order_is_placed(operator: Desk, pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    wanted = {"order_id": order_id, "amount": 900, "currency": "EUR", "payment_method": "pm_ok"}
    payment = pair.payment.post("/v1/payments", wanted).json()
    eventually(lambda: order_id in operator.page("/operator/pending").text, "the payment is shown")
    page = operator.page("/operator/pending").text
    assert f"{payment['id']} {order_id} demo captured 9.00 EUR" in page
    assert "Payments without an order 1" in operator.page("/operator").text
    pair.order.request("POST", "/orders", json={"id": order_id, "items": ["item1"], "total": 9})
    assert payment["id"] not in operator.page("/operator/pending").text
    assert "Payments without an order 0" in operator.page("/operator").text


def test_the_publisher_its_lag_and_its_last_error_are_shown(operator: Desk, pair: Pair) -> None:
    with psycopg.connect(pair.databases.order, autocommit=True) as connection:
        connection.execute("DELETE FROM event_publisher")
        assert "Events are not published to a broker." in operator.page("/operator/pending").text
        place(pair)
        connection.execute(
            """INSERT INTO event_publisher (lease_owner, leased_until, last_error)
               VALUES ('host-1:7', now() + interval '1 minute', %s)""",
            (HOSTILE,),
        )
        page = operator.page("/operator/pending").text
        assert "host-1:7" in page
        assert HOSTILE in page
        assert "never" in page
        connection.execute(
            "UPDATE event_publisher SET leased_until = now(), published_at = now() - interval '3 minutes'"
        )
        page = operator.page("/operator/pending").text
        assert "none runs" in page
        assert "3 min ago" in page
        assert "Events behind" not in page
        connection.execute(
            "INSERT INTO event_consumers VALUES ('shop', 12, now() - interval '1 minute'), (%s, 0, now())", (HOSTILE,)
        )
        assert "shop 12 1 min ago" in operator.page("/operator/pending").text
        connection.execute("DELETE FROM event_publisher")
        connection.execute("DELETE FROM event_consumers")


def test_webhooks_that_an_endpoint_does_not_accept_are_pending(operator: Desk, pair: Pair) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url, events=["order.paid"])
        receiver.answer = status(500)
        place(pair)
        eventually(
            lambda: "answered 500" in operator.page("/operator/pending").text, "the webhook and its error are shown"
        )
        assert f"{endpoint['id']} demo" in operator.page("/operator/pending").text
        pair.order.request("DELETE", path_of(endpoint))
    assert endpoint["id"] not in operator.page("/operator/pending").text


def test_a_closed_circuit_breaker_is_not_mentioned(operator: Desk, pair: Pair) -> None:
    place(pair)
    eventually(lambda: "breaker" not in operator.page("/operator").text, "the circuit breaker is closed")


def test_while_payment_is_down_pages_say_so_and_show_the_data_of_order(operator: Desk, pair: Pair) -> None:
    order = place(pair, customer="cus_down")
    pair.stop_payment()
    try:
        page = operator.page(f"/operator/orders/{order['id']}")
        assert "Data from the payment service is missing below" in page.text
        for text in ("cus_down", "merchant order order.placed", "order payment payment.create", "Green tea"):
            assert text in page.text
        assert "payment provider sale" not in page.text
        assert order["payment"]["id"] in page.text
        assert "unavailable" in operator.page("/operator").text
        assert "unavailable" in operator.page("/operator/pending").text
        assert "All data from the payment service is missing" in operator.page("/operator/ledger?merchant=demo").text
        assert "The payment service did not return the faults" in operator.page("/operator/provider").text
        refused = operator.send("/operator/provider", {"token": operator.token, "decline": "on"})
        assert (refused.status_code, "not known whether" in refused.text) == (503, True)
        assert operator.get("/operator/dead-letters").status_code == 200
    finally:
        pair.start_payment()


def test_a_payment_service_that_hangs_delays_pages_only_briefly(pair: Pair, browser_for: Callable[..., Desk]) -> None:
    order = place(pair)
    target = urlsplit(pair.payment.url)
    assert target.hostname
    assert target.port
    with Proxy(target.hostname, target.port) as proxy:
        operator = browser_for(PAYMENT_URL=proxy.url)
        operator.sign_in()
        assert "payment provider sale" in operator.page(f"/operator/orders/{order['id']}").text
        proxy.mode = "swallow_response"
        began = datetime.now()
        page = operator.page(f"/operator/orders/{order['id']}")
        assert (datetime.now() - began).total_seconds() < 8
        began = datetime.now()
        assert "unavailable" in operator.page("/operator").text
        assert (datetime.now() - began).total_seconds() < 5
        assert "Data from the payment service is missing below" in page.text
        assert "order payment payment.create" in page.text


def test_slow_pages_do_not_delay_probes_and_use_few_connections(
    pair: Pair, databases: Databases, browser_for: Callable[..., Desk]
) -> None:
    order = place(pair)
    target = urlsplit(pair.payment.url)
    assert target.hostname
    assert target.port
    with Proxy(target.hostname, target.port) as proxy, ThreadPoolExecutor(12) as pool:
        operator = browser_for(PAYMENT_URL=proxy.url, TRUSTED_PROXIES="1")
        operator.sign_in()
        proxy.mode = "swallow_response"
        cookies = operator.session.cookies.get_dict()
        url = f"{operator.url}/operator/orders/{order['id']}"

        def ask(address: str) -> Future[requests.Response]:
            return pool.submit(requests.get, url, cookies=cookies, headers={"X-Forwarded-For": address}, timeout=60)

        answers = [ask("192.0.2.1") for _ in range(6)]
        eventually(lambda: connections(databases) == 3, "pages for one address are being rendered")
        answers += [ask("192.0.2.2") for _ in range(6)]
        eventually(lambda: connections(databases) == 4, "there is a place for another address")
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, connections(databases))
            assert operator.get("/livez").status_code == 200
            assert operator.get("/readyz").status_code == 200
        assert most == 4
        assert {answer.result().status_code for answer in answers} <= {200, 503}
    eventually(lambda: connections(databases) == 0, "the connections are closed")


def connections(databases: Databases) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'operator' AND datname = current_database()"
    found: int = databases.query("order", query)[0]["count"]
    return found


def test_hostile_data_is_shown_as_text(operator: Desk, pair: Pair) -> None:
    line = {"sku": HOSTILE[:60], "name": BACKWARDS + HOSTILE, "quantity": 1, "unit_amount": 450}
    long = "W" * 200
    order = place(pair, items=[line], customer=HOSTILE, metadata={HOSTILE[:30]: HOSTILE, "long": long})
    for path in ("/operator", f"/operator/orders/{order['id']}"):
        page = operator.page(path)
        assert HOSTILE in page.text
        assert page.scripts == ["/operator/static/refresh.js"]
        assert not page.tags & {"style", "iframe", "object"}
        assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
        assert page.html.count("<img") == 1
    assert BACKWARDS in page.text
    assert f"<bdi>{BACKWARDS}" in page.html
    assert long in page.text


def test_orders_of_the_sketchs_api_are_shown(operator: Desk, pair: Pair) -> None:
    order_id = str(uuid.uuid4())
    body = {"id": order_id, "items": ["book", "pen"], "total": 19.5}
    for client in (pair.order, Client(pair.order.url, OTHER_KEY)):
        assert client.post("/orders", body).status_code == 201
    choice = operator.page(f"/operator/orders/{order_id}")
    assert f"Several merchants have an order {order_id}" in choice.text
    page = operator.page(f"/operator/orders/{order_id}?merchant=other")
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
def test_an_unknown_order_or_path_is_a_404_page(operator: Desk, path: str) -> None:
    answer = operator.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "Back to orders" in answer.text


@pytest.mark.parametrize(
    "path", ["/operator", "/operator/sign-in", "/operator/nothing", "/operator/static/operator.css", "/operator/ledger"]
)
def test_every_response_has_the_security_headers(operator: Desk, anonymous: Desk, path: str) -> None:
    for visitor in (operator, anonymous):
        headers = visitor.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == ("no-cache, max-age=0" if "static" in path else "no-store")


def test_pages_with_forms_do_not_refresh_themselves(operator: Desk, pair: Pair) -> None:
    order = place(pair)
    for path in ("/operator", "/operator/ledger", "/operator/provider", "/operator/dead-letters"):
        assert not operator.page(f"{path}?refresh=5").refreshes
    for path in ("/operator/pending", f"/operator/orders/{order['id']}"):
        assert operator.page(f"{path}?refresh=5").refreshes
        page = operator.page(path)
        assert not page.refreshes
        assert operator.page(page.links["Refresh every 5 s"]).refreshes


def test_a_trial_balance_that_does_not_balance_is_reported(operator: Desk, pair: Pair, databases: Databases) -> None:
    place(pair)
    page = operator.page("/operator/ledger")
    assert "demo balances" in page.text
    assert "merchant_payable" in page.text
    assert "does not balance" not in page.text
    databases.query("payment", "ALTER TABLE ledger_entries DISABLE TRIGGER USER")
    (entry,) = databases.query("payment", "SELECT id FROM ledger_entries WHERE merchant = 'demo' LIMIT 1")
    try:
        databases.query("payment", "UPDATE ledger_entries SET amount = amount + 1 WHERE id = %s", entry["id"])
        page = operator.page("/operator/ledger?merchant=demo")
        assert "demo does not balance" in page.text
        assert "0.01 EUR" in page.text
    finally:
        databases.query("payment", "UPDATE ledger_entries SET amount = amount - 1 WHERE id = %s", entry["id"])
        databases.query("payment", "ALTER TABLE ledger_entries ENABLE TRIGGER USER")


def test_the_ledger_lists_each_merchant_once(operator: Desk, databases: Databases) -> None:
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
        page = operator.page(path)
        seen += page.text
        path = page.links.get("More merchants", "")
    assert all(seen.count(f"Accounts of book-{number:02}:") == 1 for number in range(12))


def test_there_is_no_fault_form_if_the_provider_is_not_the_simulator(
    databases: Databases, pair: Pair, operator: Desk
) -> None:
    payments = pair.payment_app.extensions["tandem"].use_cases["payments"].provider_controls
    simulator = payments._provider
    try:
        payments._provider = type("Real", (), {"name": "real"})()
        page = operator.page("/operator/provider")
        assert "there are no faults to set" in page.text
        assert [action for action, _ in page.forms] == ["/operator/sign-out"]
    finally:
        payments._provider = simulator


def test_while_the_order_database_is_down_pages_say_so_and_metrics_are_available(
    databases: Databases, browser_for: Callable[..., Desk]
) -> None:
    parts = urlsplit(databases.order)
    assert parts.hostname
    assert parts.port
    with Proxy(parts.hostname, parts.port) as proxy:
        port = urlsplit(proxy.url).port
        proxied = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        operator = browser_for(DATABASE_URL=proxied)
        operator.sign_in()
        proxy.mode = "refuse"
        answer = operator.get("/operator")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "The order database does not respond" in answer.text
        assert operator.get("/livez").status_code == 200
        assert "database_up 0.0" in operator.get("/metrics").text.replace('{tandem="order"}', "")
        proxy.mode = "pass"
        assert operator.get("/operator").status_code == 200


def test_a_dead_webhook_is_part_of_the_journey(operator: Desk, pair: Pair, databases: Databases) -> None:
    with Receiver() as receiver:
        endpoint = register(pair.order, receiver.url)
        receiver.answer = status(410)
        order = place(pair)
        eventually(lambda: "dead, HTTP 410" in operator.page(f"/operator/orders/{order['id']}").text, "it is dead")
        assert receiver.url in operator.page(f"/operator/orders/{order['id']}").text
        pair.order.request("DELETE", path_of(endpoint))
