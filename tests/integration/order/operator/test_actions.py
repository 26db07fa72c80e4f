"""The operator's actions: retry, redeliver and set faults. Repeating one has no further effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.databases import Databases
from tests.support.dead_webhooks import kill, states
from tests.support.eventually import eventually
from tests.support.operator_client import Desk
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY
from tests.support.webhook_receiver import Receiver, path_of, register, status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def dead(pair: Pair, receiver: Receiver, databases: Databases) -> Iterator[dict[str, Any]]:
    """An endpoint with one dead webhook of a paid order. The endpoint would accept it now."""
    endpoint = register(pair.order, receiver.url, events=["order.paid"])
    receiver.answer = status(500)
    order = pair.order.post("/v1/orders", ORDER, Prefer="wait=5").json()
    kill(databases, endpoint)
    receiver.answer = status(204)
    yield {"endpoint": endpoint, "order": order}
    pair.order.request("DELETE", path_of(endpoint))


def test_a_dead_webhook_is_redelivered_once_even_if_requested_repeatedly(
    operator: Desk, dead: dict[str, Any], receiver: Receiver, databases: Databases
) -> None:
    page = operator.page("/operator/dead-letters")
    assert "answered 500" in page.text
    assert dead["order"]["id"] in page.links
    before = len(receiver.received)
    token = operator.token
    (form,) = (hidden for action, hidden in page.forms if hidden.get("endpoint") == dead["endpoint"]["id"])
    answers = [operator.send("/operator/dead-letters", {**form, "token": token}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303] * 3
    done = [answer.headers["Location"].partition("done=")[2] for answer in answers]
    assert done == ["redelivered", "not-dead", "not-dead"]
    eventually(lambda: states(databases, dead["endpoint"]) == ["delivered"], "it is delivered")
    assert len(receiver.received) == before + 1
    assert "Redelivery requested." in operator.page(answers[0].headers["Location"]).text
    assert dead["endpoint"]["id"] not in operator.page("/operator/dead-letters").text


def test_another_endpoints_dead_webhook_of_the_same_event_stays_dead(
    operator: Desk, pair: Pair, databases: Databases
) -> None:
    with Receiver() as first, Receiver() as second:
        endpoints = [register(pair.order, each.url, events=["order.paid"]) for each in (first, second)]
        first.answer = second.answer = status(500)
        pair.order.post("/v1/orders", ORDER, Prefer="wait=5")
        for endpoint in endpoints:
            kill(databases, endpoint)
        first.answer = second.answer = status(204)
        first_id = endpoints[0]["id"]
        (delivery,) = databases.query("order", "SELECT id FROM webhook_deliveries WHERE endpoint_id = %s", first_id)
        operator.press(
            "/operator/dead-letters", "/operator/dead-letters", delivery=str(delivery["id"]), endpoint=first_id
        )
        eventually(lambda: states(databases, endpoints[0]) == ["delivered"], "it is delivered")
        assert states(databases, endpoints[1]) == ["dead"]
        operator.press("/operator/dead-letters", "/operator/dead-letters", all="yes")
        eventually(lambda: states(databases, endpoints[1]) == ["delivered"], "the other webhook is delivered, too")
        for endpoint in endpoints:
            pair.order.request("DELETE", path_of(endpoint))


def test_a_dead_webhook_of_a_disabled_endpoint_cannot_be_redelivered(
    operator: Desk, dead: dict[str, Any], receiver: Receiver, databases: Databases
) -> None:
    endpoint_id = dead["endpoint"]["id"]
    forms = operator.page("/operator/dead-letters").forms
    (form,) = (hidden for _, hidden in forms if hidden.get("endpoint") == endpoint_id)
    databases.query(
        "order",
        "UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = 'gone' WHERE id = %s",
        endpoint_id,
    )
    page = operator.page("/operator/dead-letters")
    assert "endpoint disabled" in page.text
    assert not [hidden for _, hidden in page.forms if hidden.get("endpoint") == endpoint_id]
    assert operator.send("/operator/dead-letters", form).headers["Location"].endswith("done=not-dead")
    assert states(databases, dead["endpoint"]) == ["dead"]


@pytest.mark.parametrize("fields", [{}, {"delivery": "17", "endpoint": "18"}, {"delivery": "\x00"}])
def test_a_form_without_a_valid_delivery_is_refused(operator: Desk, fields: dict[str, str]) -> None:
    assert operator.send("/operator/dead-letters", {"token": operator.token, **fields}).status_code == 400


def test_a_refused_command_is_retried_at_once_and_takes_effect_once(
    operator: Desk, pair: Pair, databases: Databases, waiting_order: dict[str, Any]
) -> None:
    order = waiting_order
    page = operator.page("/operator/dead-letters")
    assert "payment answered 422" in page.text
    (path,) = (action for action, _ in page.forms if "/outbox/" in action)
    token = operator.token
    first = operator.send(path, {"token": token})
    assert first.headers["Location"].startswith("/operator/dead-letters?")
    assert first.headers["Location"].endswith("&done=retried")
    eventually(lambda: pair.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")
    assert operator.send(path, {"token": token}).headers["Location"].endswith("&done=not-waiting")
    assert len(databases.charges(order["id"])) == 1
    assert path not in [action for action, _ in operator.page("/operator/dead-letters").forms]


def test_faults_are_set_shown_and_turned_off(operator: Desk, pair: Pair) -> None:
    assert "no faults" in operator.page("/operator/provider").text
    faults = {"decline": "on", "delay_ms": "10", "lost_requests_percent": "0", "lost_answers_percent": "20"}
    assert operator.press("/operator/provider", "/operator/provider", **faults).status_code == 303
    page = operator.page("/operator/provider?done=switched")
    assert "charges are declined, responses take 10 ms, 20 % of responses are lost." in page.text
    assert 'class="alarm banner"' in page.html
    peer = Client(pair.payment.url, INTERNAL_KEY)
    assert peer.get("/v1/simulator/faults").json()["delay_ms"] == 10
    assert operator.press("/operator/provider", "/operator/provider", off="yes", **faults).status_code == 303
    assert "no faults" in operator.page("/operator/provider").text


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "101", "٥", "999999"])
def test_an_invalid_fault_is_refused(operator: Desk, value: str) -> None:
    answer = operator.press("/operator/provider", "/operator/provider", lost_requests_percent=value)
    assert answer.status_code == 400
    assert "no faults" in operator.page("/operator/provider").text


@pytest.mark.parametrize("merchant", ["", "%00", "no%20body", "%f0%9f%90%98"])
def test_a_retry_for_an_invalid_merchant_changes_nothing(operator: Desk, databases: Databases, merchant: str) -> None:
    path = f"/operator/outbox/0195a3f0-aaaa-7e11-8d40-1f6d1c8e5a72/retry?merchant={merchant}"
    answer = operator.send(path, {"token": operator.token})
    assert answer.headers["Location"].endswith("&done=not-waiting")
