"""Commands of the order service that come together: each is answered as if it had come alone."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from chassis.postgres.database import Session
from payment import operations
from payment.model import Operation, Outcome
from payment.providers import ProviderFault
from payment.providers.simulator import Simulator
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client, Pair
from tests.support.settings import INTERNAL_KEY

Body = dict[str, Any]


@pytest.fixture
def order_service(pair: Pair) -> Client:
    """The client with the key that order has."""
    return Client(pair.payment.url, INTERNAL_KEY)


def create(order_id: str | None = None, key: str | None = None, **change: Any) -> Body:
    payload = {
        "order_id": order_id or str(uuid.uuid4()),
        "amount": 900,
        "currency": "EUR",
        "payment_method": "pm_ok",
        "capture": "automatic",
        **change,
    }
    return command("payment.create", payload, key)


def command(topic: str, payload: Body, key: str | None = None, merchant: str = "demo") -> Body:
    return {"id": key or str(uuid.uuid4()), "merchant": merchant, "topic": topic, "payload": payload, "headers": {}}


def send(client: Client, *commands: Body) -> list[Body]:
    answer = client.post("/v1/commands", {"commands": list(commands)})
    assert answer.status_code == 200, answer.text
    results: list[Body] = answer.json()["results"]
    assert [result["id"] for result in results] == [each["id"] for each in commands]
    return results


def events(pair: Pair, order_id: str) -> int:
    rows = pair.databases.query("payment", "SELECT count(*) AS n FROM outbox WHERE aggregate_id = %s", order_id)
    return int(rows[0]["n"])


def about_payment(order_service: Client, topic: str) -> Body:
    """Return the payload of a command; if it is not `payment.create`, about a new payment."""
    if topic == "payment.create":
        payload: Body = create()["payload"]
        return payload
    (made,) = send(order_service, create(capture="automatic" if topic == "payment.refund" else "manual"))
    amount = {} if topic == "payment.void" else {"amount": 400}
    return {"payment_id": made["payment"]["id"], **amount, **({"final": False} if topic == "payment.capture" else {})}


def test_each_command_of_a_batch_has_its_own_answer(pair: Pair, order_service: Client) -> None:
    (held,) = send(order_service, create(capture="manual"))
    wanted = [
        create(),
        create(payment_method="pm_declined"),
        create(capture="manual"),
        create(amount=0),
        command("payment.capture", {"payment_id": held["payment"]["id"], "amount": 400}),
        command("payment.refund", {"payment_id": str(uuid.uuid4()), "amount": 1}),
        command("payment.void", {"payment_id": "x"}),
        create(order_id=held["payment"]["order_id"]),
    ]
    results = send(order_service, *wanted)
    assert [(result["payment"] or {}).get("status") for result in results] == [
        *("captured", "failed", "authorized", None, "captured", None, None, "captured"),
    ]
    assert results[1]["payment"]["failure_reason"] == "card_declined"
    assert results[4]["operation"] == {"status": "succeeded", "reason": None}
    assert results[4]["payment"]["captured_amount"] == 400
    problems = [(result["problem"] or {}).get("name") for result in results]
    assert problems == [None, None, None, "validation", None, "payment-not-found", "validation", None]
    assert results[7]["payment"]["id"] == held["payment"]["id"], "the order has this live payment already"


def test_a_batch_that_is_sent_again_charges_nothing_again(pair: Pair, order_service: Client) -> None:
    wanted = [create() for _ in range(20)]
    first = send(order_service, *wanted)
    again = send(order_service, *reversed(wanted))[::-1]
    assert [result["payment"] for result in again] == [result["payment"] for result in first]
    for each in wanted:
        assert len(pair.databases.charges(each["payload"]["order_id"])) == 1


def test_two_commands_of_one_order_or_key_in_a_batch_are_one_payment(pair: Pair, order_service: Client) -> None:
    one, order_id = create(), str(uuid.uuid4())
    results = send(order_service, one, one, create(order_id), create(order_id))
    ids = [result["payment"]["id"] for result in results]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    other = send(order_service, {**create(amount=901), "id": one["id"]}, create())
    assert other[0]["problem"]["name"] == "idempotency-key-reused"
    assert other[1]["payment"]["status"] == "captured"


def test_an_outcome_in_the_answer_has_no_event(pair: Pair, order_service: Client) -> None:
    wanted = [create() for _ in range(3)]
    results = send(order_service, *wanted)
    refund = command("payment.refund", {"payment_id": results[0]["payment"]["id"], "amount": 100})
    (refunded,) = send(order_service, refund)
    assert (refunded["refund"]["status"], refunded["payment"]["refunded_amount"]) == ("succeeded", 100)
    assert [events(pair, each["payload"]["order_id"]) for each in wanted] == [0, 0, 0]


def test_an_outcome_that_comes_later_has_an_event(pair: Pair, order_service: Client) -> None:
    wanted = [create(payment_method="pm_timeout_charged"), create(), create(payment_method="pm_flaky")]
    results = send(order_service, *wanted)
    assert [result["payment"]["status"] for result in results] == ["processing", "captured", "processing"]
    for each in (wanted[0], wanted[2]):
        order_id = each["payload"]["order_id"]
        eventually(lambda order_id=order_id: events(pair, order_id) == 1, "the executor's outcome has an event")  # type: ignore[misc]
        assert len(pair.databases.charges(order_id)) == 1


def test_an_answer_does_not_overtake_an_event_of_the_same_order(pair: Pair, order_service: Client) -> None:
    order_id = str(uuid.uuid4())
    pair.databases.query(
        "payment",
        """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers, available_at)
           VALUES (gen_random_uuid(), 'demo', %s, 'payment.updated', '{}', '{}', now() + interval '1 day')""",
        order_id,
    )
    (result,) = send(order_service, create(order_id))
    assert result["payment"]["status"] == "captured"
    assert events(pair, order_id) == 2, "the outcome waits behind the earlier event"


def test_only_a_key_for_any_merchant_sends_batches_of_64_at_most(pair: Pair, order_service: Client) -> None:
    refused = pair.payment.post("/v1/commands", {"commands": [create()]})
    assert (refused.status_code, urlsplit(refused.json()["type"]).path) == (403, "/problems/forbidden")
    for commands in ([], [create() for _ in range(65)], [{**create(), "topic": "payment.keep"}], [{"id": "x"}]):
        wrong = order_service.post("/v1/commands", {"commands": commands})
        assert (wrong.status_code, urlsplit(wrong.json()["type"]).path) == (422, "/problems/validation")
    assert len(send(order_service, *[create() for _ in range(64)])) == 64


def test_many_orders_are_paid_once_each_after_payment_was_away(pair: Pair) -> None:
    pair.stop_payment()
    placed = [pair.order.post("/v1/orders", ORDER).json()["id"] for _ in range(150)]
    pair.start_payment()
    for order_id in placed:
        eventually(
            lambda order_id=order_id: pair.order.get(f"/v1/orders/{order_id}").json()["status"] == "paid",  # type: ignore[misc]
            "each order is paid",
            60,
        )
        assert len(pair.databases.charges(order_id)) == 1


@pytest.mark.parametrize(
    ("topic", "moment"),
    [
        ("payment.create", "is_leased_to_request"),
        ("payment.refund", "is_leased_to_request"),
        ("payment.capture", "is_leased_to_request"),
        ("payment.capture", "outcome"),
        ("payment.void", "outcome"),
    ],
)
def test_a_command_that_is_sent_again_is_answered_with_its_outcome_if_the_first_request_ends_meanwhile(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str, moment: str
) -> None:
    """There is no event of that outcome, so order would keep what an older answer says."""
    wanted = command(topic, about_payment(order_service, topic))
    pending = "SELECT FROM operations WHERE status = 'pending'"
    may_end = threading.Event()
    look, ask = getattr(operations, moment), Simulator.send

    def look_when_it_has_ended(*arguments: Any) -> Any:
        may_end.set()
        eventually(lambda: not pair.databases.query("payment", pending), "the first request has settled")
        return look(*arguments)

    def ask_when_it_may_end(provider: Simulator, operation: Operation) -> Outcome:
        assert may_end.wait(10)
        return ask(provider, operation)

    monkeypatch.setattr(Simulator, "send", ask_when_it_may_end)
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(send, order_service, wanted)
        eventually(lambda: pair.databases.query("payment", pending), "the first request is under way")
        monkeypatch.setattr(operations, moment, look_when_it_has_ended)
        (again,) = send(order_service, wanted)
        assert [again] == first.result()
    assert events(pair, again["payment"]["order_id"]) == 0


@pytest.mark.parametrize(
    ("topic", "changed"), [("payment.capture", ("authorized", 400)), ("payment.void", ("voided", 0))]
)
def test_an_answer_has_the_payment_as_the_outcome_left_it(
    pair: Pair, order_service: Client, monkeypatch: pytest.MonkeyPatch, topic: str, changed: tuple[str, int]
) -> None:
    """Order would decide on the older payment, as if the void or capture had not happened."""
    wanted = command(topic, about_payment(order_service, topic))
    is_back, looks = threading.Event(), list[Any]()
    look, ask = operations.outcome, Simulator.send

    def ask_when_it_is_back(provider: Simulator, operation: Operation) -> Outcome:
        if not is_back.is_set():
            raise ProviderFault("away")
        return ask(provider, operation)

    def look_when_it_has_ended(session: Session, merchant: str, operation_id: str) -> Any:
        looks.append(operation_id)
        if len(looks) == 2:  # no request has a lease: the executor ends the operation now
            is_back.set()
            pending = "SELECT FROM operations WHERE status = 'pending'"
            eventually(lambda: not pair.databases.query("payment", pending), "the executor has settled")
        return look(session, merchant, operation_id)

    monkeypatch.setattr(Simulator, "send", ask_when_it_is_back)
    monkeypatch.setattr(operations, "outcome", look_when_it_has_ended)
    (result,) = send(order_service, wanted)
    assert (len(looks), result["operation"]["status"]) == (2, "succeeded")
    assert (result["payment"]["status"], result["payment"]["captured_amount"]) == changed
