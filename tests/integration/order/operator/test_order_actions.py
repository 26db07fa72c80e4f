"""The operator refunds, captures and cancels orders, and sends again what waits: once, with a reason, and audited."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from chassis.auth.rate_limits import Limit
from order.operator import admission
from tests.support.databases import Databases
from tests.support.dead_webhooks import kill, states
from tests.support.eventually import eventually
from tests.support.operator_client import Desk, Page
from tests.support.pair import ORDER, Pair
from tests.support.settings import LOOKING_KEY, RETRYING_KEY
from tests.support.webhook_receiver import Receiver, path_of, register, status

CARD = "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
def many_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow more forms than a person sends in a minute."""
    monkeypatch.setattr(admission, "FORMS", (Limit("minute", 10_000, 60),))


def place(pair: Pair, **change: Any) -> dict[str, Any]:
    answer = pair.order.post("/v1/orders", {**ORDER, **change}, Prefer="wait=5")
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json()
    return order


def path(order: dict[str, Any], action: str) -> str:
    return f"/operator/orders/{order['id']}/{action}"


def start(desk: Desk, order: dict[str, Any], action: str) -> dict[str, str]:
    """Open the form of an action and return its hidden fields."""
    page = desk.page(f"{path(order, action)}?merchant=demo")
    (hidden,) = [hidden for goes_to, hidden in page.forms if goes_to == path(order, action)]
    return hidden


def confirm(desk: Desk, order: dict[str, Any], action: str, **fields: str) -> tuple[Page, dict[str, str]]:
    """Send the form of an action; return the page that asks for the confirmation, and its hidden fields."""
    answer = desk.send(path(order, action), {**start(desk, order, action), **fields})
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    (hidden,) = [hidden for goes_to, hidden in page.forms if goes_to == path(order, action)]
    return page, hidden


def audited(databases: Databases, order: dict[str, Any]) -> list[dict[str, Any]]:
    return databases.query("order", "SELECT * FROM operator_actions WHERE order_id = %s ORDER BY id", order["id"])


def test_a_refund_is_confirmed_done_once_and_audited(operator: Desk, pair: Pair, databases: Databases) -> None:
    order = place(pair)
    assert path(order, "refund") in operator.page(f"/operator/orders/{order['id']}").links["Refund …"]
    page, hidden = confirm(operator, order, "refund", amount="4.50", reason="one was wet")
    assert "4.50 EUR is returned to the customer" in page.text
    assert "Of 9.00 EUR paid, 4.50 EUR is left after that." in page.text
    assert pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"] == []
    assert audited(databases, order) == []
    answers = [operator.send(path(order, "refund"), hidden) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303] * 3
    eventually(
        lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 450, "the refund succeeds"
    )
    (refund,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert (refund["amount"], refund["reason"]) == (450, "one was wet")
    (row,) = audited(databases, order)
    found = {name: row[name] for name in ("merchant", "action", "amount", "currency", "reason", "outcome")}
    assert found == {
        "merchant": "demo",
        "action": "refund",
        "amount": 450,
        "currency": "EUR",
        "reason": "one was wet",
        "outcome": "done",
    }
    assert "of API_KEYS, of tandem" in row["who"]
    assert "tdm_operator" not in str(row)
    shown = operator.page(answers[0].headers["Location"]).text
    assert "Refund requested." in shown
    assert "Refund done 4.50 EUR one was wet key" in shown
    assert row["request_id"] in shown
    (command,) = databases.query(
        "order", "SELECT headers FROM outbox WHERE aggregate_id = %s AND topic = 'payment.refund'", order["id"]
    )
    assert command["headers"]["X-Request-Id"] == row["request_id"]
    assert "Refund done 4.50 EUR one was wet" in operator.page("/operator/audit?merchant=demo").text


def test_a_form_sent_many_times_at_once_refunds_once(operator: Desk, pair: Pair, databases: Databases) -> None:
    order = place(pair)
    _, hidden = confirm(operator, order, "refund", amount="3", reason="late")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: operator.send(path(order, "refund"), hidden), range(8)))
    assert {answer.status_code for answer in answers} <= {303, 409}
    assert 303 in {answer.status_code for answer in answers}
    assert len(pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]) == 1
    assert [row["outcome"] for row in audited(databases, order)].count("done") == 1


def test_a_form_with_the_same_key_and_another_amount_is_refused(
    operator: Desk, pair: Pair, databases: Databases
) -> None:
    order = place(pair)
    _, hidden = confirm(operator, order, "refund", amount="3.00", reason="late")
    assert operator.send(path(order, "refund"), hidden).status_code == 303
    answer = operator.send(path(order, "refund"), {**hidden, "amount": "4.00"})
    assert (answer.status_code, "sent before with other content" in answer.text) == (422, True)
    (refund,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert refund["amount"] == 300
    assert [(row["outcome"], row["detail"]) for row in audited(databases, order)] == [
        ("done", ""),
        ("refused", "idempotency-key-reused"),
    ]


def test_an_order_that_has_changed_since_it_was_shown_is_left_alone(
    operator: Desk, pair: Pair, databases: Databases
) -> None:
    order = place(pair)
    _, hidden = confirm(operator, order, "refund", amount="9.00", reason="returned")
    pair.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, Prefer="wait=5")
    answer = operator.send(path(order, "refund"), hidden)
    assert (answer.status_code, "Nothing was done" in answer.text) == (412, True)
    assert Page(answer.text).links["Back"] == f"/operator/orders/{order['id']}?merchant=demo"
    assert pair.order.get(f"/v1/orders/{order['id']}").json()["refunded_amount"] == 100
    (row,) = audited(databases, order)
    assert (row["outcome"], row["detail"], row["amount"]) == ("refused", "precondition-failed", 900)
    assert "precondition-failed" in operator.page(f"/operator/orders/{order['id']}").text


def test_a_part_of_an_authorized_order_is_captured(operator: Desk, pair: Pair, databases: Databases) -> None:
    order = place(pair, capture="manual")
    links = operator.page(f"/operator/orders/{order['id']}").links
    assert "Capture …" in links
    assert "Refund …" not in links
    page, hidden = confirm(operator, order, "capture", amount="4", reason="half was in stock")
    assert "4.00 EUR is taken from the customer" in page.text
    assert "5.00 EUR, is released" in page.text
    assert operator.send(path(order, "capture"), hidden).status_code == 303
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["paid_amount"] == 400, "it is captured")
    assert [row["amount"] for row in audited(databases, order)] == [400]


def test_a_part_is_captured_and_the_rest_is_kept_and_then_released(
    operator: Desk, pair: Pair, databases: Databases
) -> None:
    order = place(pair, capture="manual")
    shown = f"/operator/orders/{order['id']}"
    assert "Release the rest …" not in operator.page(shown).links
    page, hidden = confirm(operator, order, "capture_part", amount="4", reason="the first box")
    assert "4.00 EUR is taken from the customer" in page.text
    assert "5.00 EUR, stays authorized" in page.text
    sent = operator.send(path(order, "capture_part"), hidden)
    assert "Capture requested." in operator.page(sent.headers["Location"]).text

    def seen() -> tuple[str, int]:
        now = pair.order.get(f"/v1/orders/{order['id']}").json()
        return now["status"], now["paid_amount"]

    eventually(lambda: seen() == ("authorized", 400), "the part is captured")
    eventually(lambda: "Release the rest …" in operator.page(shown).links, "the rest can be released")
    page = operator.page(f"{path(order, 'release')}?merchant=demo")
    assert "5.00 EUR, is released. No money moves." in page.text
    hidden = start(operator, order, "release")
    sent = operator.send(path(order, "release"), {**hidden, "reason": "out of stock"})
    assert "Release requested." in operator.page(sent.headers["Location"]).text
    eventually(lambda: seen() == ("paid", 400), "the rest is released")
    assert [(row["action"], row["amount"]) for row in audited(databases, order)] == [
        ("capture_part", 400),
        ("release", 0),
    ]


@pytest.mark.parametrize(
    ("change", "sentence", "moved"),
    [
        ({}, "9.00 EUR is returned to the customer", 900),
        ({"capture": "manual"}, "The authorization of 9.00 EUR is released. No money moves.", 0),
        ({"payment_method": "pm_declined"}, "No money moves: nothing was paid.", 0),
    ],
)
def test_an_order_is_canceled(
    operator: Desk, pair: Pair, databases: Databases, change: dict[str, str], sentence: str, moved: int
) -> None:
    order = place(pair, **change)
    page = operator.page(f"{path(order, 'cancel')}?merchant=demo")
    assert sentence in page.text
    hidden = start(operator, order, "cancel")
    for _ in range(2):
        answer = operator.send(path(order, "cancel"), {**hidden, "reason": "fraud"})
        assert answer.status_code == 303
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "canceled", "it is canceled")
    assert [(row["action"], row["amount"], row["outcome"]) for row in audited(databases, order)] == [
        ("cancel", moved, "done")
    ]
    assert "Cancel the order" not in operator.page(f"/operator/orders/{order['id']}").links


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amount": "", "reason": "wet"}, "The amount must be a number"),
        ({"amount": "4,50", "reason": "wet"}, "The amount must be a number"),
        ({"amount": "-1", "reason": "wet"}, "The amount must be a number"),
        ({"amount": "1e3", "reason": "wet"}, "The amount must be a number"),
        ({"amount": "٤", "reason": "wet"}, "The amount must be a number"),
        ({"amount": "4.505", "reason": "wet"}, "has more decimals than EUR"),
        ({"amount": "0.00", "reason": "wet"}, "must be greater than zero"),
        ({"amount": "9" * 19, "reason": "wet"}, "is too large"),
        ({"amount": CARD, "reason": "wet"}, "The amount must be a number"),
        ({"amount": "1", "reason": ""}, "The reason is missing."),
        ({"amount": "1", "reason": " \t "}, "The reason is missing."),
        ({"amount": "1", "reason": "w" * 201}, "more than 200 characters"),
        ({"amount": "1", "reason": f"card {CARD}"}, "must not hold a card number"),
        ({"amount": "1", "reason": "４１１１ １１１１ １１１１ １１１１"}, "must not hold a card number"),
        ({"amount": "1", "reason": "a\x00b"}, "must have no control characters"),
    ],
)
@pytest.mark.parametrize("confirmed", ["", "yes"])
def test_an_invalid_amount_or_reason_is_refused_and_not_repeated(
    operator: Desk, pair: Pair, databases: Databases, fields: dict[str, str], message: str, confirmed: str
) -> None:
    order = place(pair)
    answer = operator.send(
        path(order, "refund"), {**start(operator, order, "refund"), **fields, "confirmed": confirmed}
    )
    assert answer.status_code == 422
    assert message in Page(answer.text).text
    assert "1111 1111" not in answer.text  # four digits alone occur in ids
    assert "１１１１ １１１１" not in answer.text
    assert pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"] == []
    assert audited(databases, order) == []


def test_the_amount_that_is_confirmed_is_the_one_that_is_moved(operator: Desk, pair: Pair) -> None:
    order = place(pair)
    page, hidden = confirm(operator, order, "refund", amount=f"{' ' * 23}4.50", reason="one was wet")
    assert "4.50 EUR is returned to the customer" in page.text
    assert operator.send(path(order, "refund"), hidden).status_code == 303
    (refund,) = pair.order.get(f"/v1/orders/{order['id']}/refunds").json()["data"]
    assert refund["amount"] == 450


def test_more_than_is_left_cannot_be_refunded(operator: Desk, pair: Pair, databases: Databases) -> None:
    order = place(pair)
    for confirmed in ("", "yes"):
        fields = {**start(operator, order, "refund"), "amount": "9.01", "reason": "x", "confirmed": confirmed}
        answer = operator.send(path(order, "refund"), fields)
        assert (answer.status_code, "More than is left to refund" in answer.text) == (409, True)
        if not confirmed:
            assert "Of 9.00 EUR paid, 9.00 EUR is left to refund." in answer.text
    assert [row["detail"] for row in audited(databases, order)] == ["amount-exceeds-captured"]


@pytest.mark.parametrize("name", ["merchant", "key", "version"])
@pytest.mark.parametrize("value", ["", "x y", "\x00", "9" * 40])
def test_a_form_with_damaged_fields_is_refused(operator: Desk, pair: Pair, name: str, value: str) -> None:
    order = place(pair)
    fields = {**start(operator, order, "cancel"), "reason": "x", name: value}
    assert operator.send(path(order, "cancel"), fields).status_code in (400, 404)
    assert pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid"


@pytest.mark.parametrize("action", ["refund", "capture", "cancel"])
def test_an_unknown_order_or_merchant_is_not_found(operator: Desk, pair: Pair, action: str) -> None:
    order = place(pair)
    assert operator.get(f"{path(order, action)}?merchant=other").status_code == 404
    assert operator.get(f"/operator/orders/{uuid.uuid4()}/{action}?merchant=demo").status_code == 404
    assert operator.get(f"/operator/orders/{order['id']}/delete?merchant=demo").status_code == 404


@pytest.mark.parametrize(("key", "sees_retry"), [(LOOKING_KEY, False), (RETRYING_KEY, True)])
def test_without_the_scope_there_are_no_buttons_and_the_forms_are_refused(
    anonymous: Desk, operator: Desk, pair: Pair, databases: Databases, key: str, sees_retry: bool
) -> None:
    pair.stop_payment()
    try:
        order = pair.order.post("/v1/orders", ORDER).json()
        hidden = start(operator, order, "cancel")
        anonymous.sign_in(key)
        page = anonymous.page(f"/operator/orders/{order['id']}")
        assert "Cancel the order" not in page.links
        assert ("Send payment.create now" in page.links) == sees_retry
        for action in ("refund", "capture", "cancel"):
            fields = {**hidden, "token": anonymous.token, "amount": "1", "reason": "x", "confirmed": "yes"}
            answer = anonymous.send(path(order, action), fields)
            assert (answer.status_code, "operator:orders" in answer.text) == (403, True)
            assert anonymous.get(f"{path(order, action)}?merchant=demo").status_code == 403
        if not sees_retry:
            for name in ("send", "redeliver", "enable"):
                answer = anonymous.send(f"/operator/again/{name}", {"token": anonymous.token, "merchant": "demo"})
                assert (answer.status_code, "operator:write" in answer.text) == (403, True)
                assert anonymous.get(f"/operator/again/{name}").status_code == 403
    finally:
        pair.start_payment()
    assert audited(databases, order) == []
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")


def test_forms_of_other_sites_and_sessions_change_no_order(
    operator: Desk, admin_url: str, pair: Pair, databases: Databases
) -> None:
    order = place(pair)
    fields = {**start(operator, order, "cancel"), "reason": "x"}
    other = Desk(admin_url)
    other.sign_in()
    assert operator.send(path(order, "cancel"), fields, Origin="https://evil.example").status_code == 403
    assert operator.send(path(order, "cancel"), {**fields, "token": other.token}).status_code == 403
    assert operator.send(path(order, "cancel"), {**fields, "token": ""}).status_code == 403
    assert audited(databases, order) == []
    assert pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid"


@pytest.mark.parametrize("action", ["refund", "cancel"])
def test_a_head_request_with_the_fields_of_a_form_changes_no_order(
    operator: Desk, pair: Pair, databases: Databases, action: str
) -> None:
    order = place(pair)
    address = f"{operator.url}{path(order, action)}?merchant=demo"
    fields = {**start(operator, order, action), "amount": "1.00", "reason": "x", "confirmed": "yes"}
    del fields["token"]
    for sent in (fields, {}):
        assert operator.session.head(address, data=sent, timeout=30).status_code == 200
    assert audited(databases, order) == []
    assert pair.order.get(f"/v1/orders/{order['id']}").json() == order


def test_a_head_request_with_the_fields_of_a_form_sends_nothing_again(
    operator: Desk, databases: Databases, waiting_order: dict[str, Any]
) -> None:
    address = operator.page(f"/operator/orders/{waiting_order['id']}").links["Send payment.create now"]
    fields = {"key": str(uuid.uuid4()), "reason": "x", "confirmed": "yes"}
    assert operator.session.head(operator.url + address, data=fields, timeout=30).status_code == 200
    assert audited(databases, waiting_order) == []


def test_a_waiting_command_is_sent_from_the_orders_page(
    operator: Desk, pair: Pair, databases: Databases, waiting_order: dict[str, Any]
) -> None:
    order = waiting_order
    address = operator.page(f"/operator/orders/{order['id']}").links["Send payment.create now"]
    page = operator.page(address)
    assert "payment answered 422" in page.text
    assert "No money moves that was not requested before." in page.text
    (hidden,) = [hidden for goes_to, hidden in page.forms if goes_to == "/operator/again/send"]
    assert operator.send("/operator/again/send", {**hidden, "reason": ""}).status_code == 422
    fields = {**hidden, "reason": "payment is up"}
    for _ in range(2):
        assert operator.send("/operator/again/send", fields).status_code == 303
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")
    assert [(row["action"], row["reason"], row["outcome"]) for row in audited(databases, order)] == [
        ("send", "payment is up", "done")
    ]
    other = operator.send("/operator/again/send", {**fields, "key": str(uuid.uuid4())})
    assert (other.status_code, "has been delivered" in other.text) == (409, True)
    assert len(databases.charges(order["id"])) == 1


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_dead_webhook_is_redelivered_from_the_orders_page(
    operator: Desk, pair: Pair, databases: Databases, receiver: Receiver
) -> None:
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    receiver.answer = status(500)
    order = place(pair)
    kill(databases, endpoint)
    receiver.answer = status(204)
    before = len(receiver.received)
    links = operator.page(f"/operator/orders/{order['id']}").links
    address = links[f"Redeliver order.paid to {receiver.url}"]
    (hidden,) = [hidden for goes_to, hidden in operator.page(address).forms if goes_to == "/operator/again/redeliver"]
    for _ in range(2):
        sent = operator.send("/operator/again/redeliver", {**hidden, "reason": "receiver is mended"})
        assert sent.headers["Location"].startswith(f"/operator/orders/{order['id']}")
        eventually(lambda: states(databases, endpoint) == ["delivered"], "it is delivered")
    assert len(receiver.received) == before + 1
    assert [row["action"] for row in audited(databases, order)] == ["redeliver"]
    pair.order.request("DELETE", path_of(endpoint))


def test_a_disabled_endpoint_is_shown_and_enabled(
    operator: Desk, pair: Pair, databases: Databases, receiver: Receiver
) -> None:
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    receiver.answer = status(410)
    order = place(pair)
    eventually(lambda: states(databases, endpoint) == ["dead"], "the endpoint is gone")
    receiver.answer = status(204)
    page = operator.page(f"/operator/endpoints/{endpoint['id']}?merchant=demo")
    for text in (receiver.url, "disabled", "order.paid", "Dead 1"):
        assert text in page.text
    assert order["id"] in page.links
    assert "Enable the endpoint" in page.links
    address = operator.page(f"/operator/orders/{order['id']}").links[f"Enable endpoint {endpoint['id']}"]
    (hidden,) = [hidden for goes_to, hidden in operator.page(address).forms if goes_to == "/operator/again/enable"]
    sent = operator.send("/operator/again/enable", {**hidden, "reason": "back"})
    assert sent.headers["Location"].startswith(f"/operator/orders/{order['id']}?merchant=demo&")
    assert "The endpoint is enabled." in operator.page(sent.headers["Location"]).text
    eventually(lambda: states(databases, endpoint) == ["delivered"], "it is delivered")
    assert [row["action"] for row in audited(databases, order)] == ["enable"]
    pair.order.request("DELETE", path_of(endpoint))
    assert operator.get(f"/operator/endpoints/{endpoint['id']}?merchant=demo").status_code == 404


def test_the_audit_lists_all_actions_and_pages_show_each_once(
    operator: Desk, anonymous: Desk, databases: Databases
) -> None:
    for number in range(60):
        databases.query(
            "order",
            """INSERT INTO operator_actions (merchant, id, who, action, reason, outcome, request_id)
               VALUES ('paging', %s, 'key 1', 'refund', %s, 'done', 'r')""",
            f"0195a3f0-7c1e-7d54-9b2a-{number:012}",
            f"reason {number:02}.",
        )
    anonymous.sign_in(LOOKING_KEY)
    seen, at = "", "/operator/audit?merchant=paging"
    while at:
        page = anonymous.page(at)
        seen += page.text
        at = page.links.get("Older actions", "")
    positions = [seen.index(f"reason {number:02}.") for number in range(60)]
    assert positions == sorted(positions, reverse=True)
    assert all(seen.count(f"reason {number:02}.") == 1 for number in range(60))
    assert anonymous.get("/operator/audit?before=x").status_code == 404
    assert "not a valid merchant" in anonymous.page("/operator/audit?merchant=%00").text


def test_retries_from_the_lists_and_faults_are_audited(operator: Desk, databases: Databases) -> None:
    operator.press("/operator/provider", "/operator/provider", delay_ms="7")
    operator.press("/operator/provider", "/operator/provider", off="yes")
    (row, _) = databases.query(
        "order", "SELECT merchant, target, outcome FROM operator_actions WHERE action = 'switch_faults' ORDER BY id"
    )
    assert (row["merchant"], row["outcome"]) == ("", "done")
    assert "delay_ms 7" in row["target"]
    assert "delay_ms 7" in operator.page("/operator/audit").text


@pytest.mark.parametrize(
    "statement",
    ["UPDATE operator_actions SET reason = 'another'", "DELETE FROM operator_actions", "TRUNCATE operator_actions"],
)
def test_the_audit_is_append_only(databases: Databases, statement: str) -> None:
    databases.query(
        "order",
        """INSERT INTO operator_actions (merchant, id, who, action, outcome, request_id)
           VALUES ('demo', gen_random_uuid(), 'key 1', 'refund', 'done', 'r')""",
    )
    with pytest.raises(psycopg.errors.CheckViolation, match="operator_actions is append-only"):
        databases.query("order", statement)
