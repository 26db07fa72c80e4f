"""`order.store.steps.write`: steps are written only for the version that was read, in one statement with the mark."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from chassis.messaging import outbox
from chassis.messaging.outbox import Message
from chassis.postgres.database import Database, Session, to_json
from order import transition
from order.changes import new_id
from order.gateway import PaymentGateway
from order.history import Step
from order.model import Command, LastError, Order, Outcome, Payment
from order.store import steps, views
from order.store.steps import Path
from order.transition import Answer, Capture, Refund
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.explaining import Explaining
from tests.support.pair import ORDER
from tests.support.settings import KEY


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    session = Database(databases.order, "settling-test").connect()
    yield session
    session.close()


@pytest.fixture
def other(databases: Databases) -> Iterator[Session]:
    other = Database(databases.order, "other").connect()
    yield other
    other.close()


def post(client: Any, path: str, body: Any = None, **more: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": str(uuid.uuid4()), **more}
    answer = client.post(path, json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    found: dict[str, Any] = answer.json
    return found


@pytest.fixture
def messages(client: Any, session: Session) -> list[Message]:
    """The commands of three new orders, leased to this test."""
    placed = {post(client, "/v1/orders", ORDER)["id"] for _ in range(3)}
    claimed = outbox.claim(session, 60, 100)
    return [message for message in claimed if message.aggregate_id in placed]


@pytest.fixture
def message(messages: list[Message]) -> Message:
    return messages[0]


def payment(status: str = "captured") -> Payment:
    captured = 900 if status == "captured" else 0
    return Payment(str(uuid.uuid4()), 2, status, 900, "EUR", captured_amount=captured)


def read(session: Session, message: Message) -> Order:
    found = steps.read(session, message.merchant, message.aggregate_id)
    assert found is not None
    return found


def path(session: Session, message: Message, answer: Answer | None = None) -> Path:
    """Return the steps that follow from a response to the message; by default, that the payment was captured."""
    answer = answer or Answer(payment(), answers=message.id)
    taken = transition.apply(read(session, message), answer, new_id)
    return Path(message.merchant, taken, "payment", {}, answered=message)


def state(session: Session, message: Message) -> tuple[Any, ...]:
    """Return the order's status and version, its number of events, and whether the message is delivered."""
    row = session.one(
        """SELECT status, version, (SELECT count(*) FROM order_events WHERE order_id = o.id) AS events,
                  (SELECT delivered_at IS NOT NULL FROM outbox WHERE id = %(message)s) AS delivered
           FROM orders o WHERE id = %(id)s""",
        {"id": message.aggregate_id, "message": message.id},
    )
    assert row is not None
    return tuple(row.values())


@pytest.mark.parametrize(
    ("status", "then"),
    [
        ("captured", ("paid", 2, 2, True)),
        ("authorized", ("authorized", 2, 2, True)),
        ("failed", ("payment_failed", 2, 2, True)),
        ("processing", ("pending_payment", 2, 2, True)),
        ("voided", ("canceled", 3, 3, True)),
    ],
)
def test_all_steps_and_the_delivered_mark_are_written_together(
    session: Session, message: Message, status: str, then: tuple[Any, ...]
) -> None:
    taken = path(session, message, Answer(payment(status), answers=message.id))
    assert steps.write(session, [taken]) != [None]
    assert state(session, message) == then
    assert message.id not in [claimed.id for claimed in outbox.claim(session, 60, 100)]


def write(session: Session, message: Message) -> None:
    session.execute("UPDATE orders SET version = version + 1 WHERE id = %s", (message.aggregate_id,))


def take_the_lease(session: Session, message: Message) -> None:
    session.execute("UPDATE outbox SET leased_until = now() - interval '1 s' WHERE id = %s", (message.id,))
    assert message.id in [taken.id for taken in outbox.claim(session, 60, 100)]


def deliver(session: Session, message: Message) -> None:
    assert outbox.mark_delivered(session, message)


@pytest.mark.parametrize("status", ["captured", "voided"])
@pytest.mark.parametrize("what", [write, take_the_lease, deliver])
def test_nothing_is_written_if_the_order_or_the_message_has_changed(
    session: Session, other: Session, message: Message, what: Any, status: str
) -> None:
    taken = path(session, message, Answer(payment(status), answers=message.id))
    what(other, message)
    before = state(session, message)
    assert steps.write(session, [taken]) == [None]
    assert state(session, message) == before


def test_only_orders_that_still_have_their_version_are_written(
    session: Session, other: Session, messages: list[Message]
) -> None:
    paths = [path(session, message) for message in messages]
    write(other, messages[1])
    before = state(session, messages[1])
    written = steps.write(session, paths)
    assert [row is not None for row in written] == [True, False, True]
    assert [state(session, message) for message in (messages[0], messages[2])] == [("paid", 2, 2, True)] * 2
    assert state(session, messages[1]) == before


def test_orders_with_different_numbers_of_steps_are_written_together(session: Session, messages: list[Message]) -> None:
    told = ["captured", "voided", "authorized"]
    answers = [Answer(payment(status), answers=each.id) for status, each in zip(told, messages, strict=True)]
    written = steps.write(session, [path(session, *each) for each in zip(messages, answers, strict=True)])
    assert None not in written
    assert [state(session, message)[:2] for message in messages] == [("paid", 2), ("canceled", 3), ("authorized", 2)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("what", [write, deliver])
def test_a_write_waits_for_a_concurrent_transaction(
    session: Session, other: Session, message: Message, what: Any, end: str
) -> None:
    taken = path(session, message)
    other.execute("BEGIN")
    what(other, message)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(steps.write, session, [taken])
        waits = "SELECT FROM pg_stat_activity WHERE application_name = 'settling-test' AND wait_event_type = 'Lock'"
        eventually(lambda: other.execute(waits.encode()).fetchone() is not None, "the write waits for the lock", 5)
        other.execute(end.encode())
        assert (written.result() != [None]) is (end == "ROLLBACK")
    assert (state(session, message) == ("paid", 2, 2, True)) is (end == "ROLLBACK")


def test_only_one_of_two_concurrent_writes_succeeds(databases: Databases, session: Session, message: Message) -> None:
    taken = path(session, message)
    sessions = [Database(databases.order, "two").connect() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(lambda each: steps.write(each, [taken]), sessions))
    assert sorted(rows == [None] for rows in written) == [False, True]
    assert state(session, message) == ("paid", 2, 2, True)
    for one in sessions:
        one.close()


def test_pending_commands_and_the_last_error_are_read_as_they_were_written(session: Session, message: Message) -> None:
    assert [asked.command for asked in read(session, message).asked] == [Command.CREATE]
    steps.write(session, [path(session, message, Answer(payment("authorized"), answers=message.id))])

    def change(made: transition.Change) -> Order:
        taken: Sequence[Step] = transition.apply(read(session, message), made, new_id)
        assert steps.write(session, [Path(message.merchant, taken, "merchant", {})]) != [None]
        assert read(session, message) == taken[-1].after
        return taken[-1].after

    known = read(session, message).payment
    assert known is not None
    capture = change(Capture()).asked[0]
    assert capture.command is Command.CAPTURE
    declined = change(Answer(known, Outcome(capture.id, False, True, "no_way")))
    assert (declined.asked, declined.last_error) == ((), LastError(Command.CAPTURE, "no_way", capture.id))
    capture = change(Capture()).asked[0]
    captured = Payment(known.id, 9, "captured", 900, "EUR", captured_amount=900)
    paid = change(Answer(captured, Outcome(capture.id, True)))
    assert (paid.status, paid.asked, paid.last_error) == ("paid", (), None)
    ids = [new_id(), new_id()]
    change(Refund(ids[0], 300))
    assert [(each.id, each.amount) for each in change(Refund(ids[1], 200)).asked] == [(ids[0], 300), (ids[1], 200)]
    refunded = Payment(known.id, 10, "captured", 900, "EUR", 900, 300, 200)
    left = change(Answer(refunded, Outcome(ids[0], True)))
    assert (left.refunded_amount, left.refunding_amount) == (300, 200)


def test_a_cancel_does_not_withdraw_the_refund_of_a_payment_that_does_not_fit(
    client: Any, session: Session, message: Message
) -> None:
    other = Payment(str(uuid.uuid4()), 2, "captured", 500, "EUR", captured_amount=500)
    steps.write(session, [path(session, message, Answer(other))])
    (refund,) = (asked for asked in read(session, message).asked if asked.command is Command.REFUND)
    order_path = f"/v1/orders/{message.aggregate_id}"
    post(client, f"{order_path}/payment-attempts", {"payment_method": "pm_ok"})
    post(client, f"{order_path}/cancel", {})
    assert refund in read(session, message).asked
    assert refund.id in [claimed.id for claimed in outbox.claim(session, 60, 100)]


def test_the_last_error_keeps_its_time_until_another_command_is_declined(session: Session, message: Message) -> None:
    steps.write(session, [path(session, message, Answer(payment("authorized"), answers=message.id))])
    known = read(session, message).payment
    assert known is not None

    def shown(made: transition.Change) -> dict[str, Any]:
        taken = transition.apply(read(session, message), made, new_id)
        (view,) = steps.write(session, [Path(message.merchant, taken, "payment", {})])
        assert view is not None
        return json.loads(view["body"])["last_error"] or {}

    times = []
    for _ in range(2):
        assert not shown(Capture()).get("detail", "").endswith("no_way.")
        capture = read(session, message).asked[0]
        first = shown(Answer(known, Outcome(capture.id, False, True)))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["at"])
        assert (first["code"], first["detail"]) == ("capture_declined", "The payment provider declined the capture.")
        known = replace(known, version=known.version + 1)
        assert shown(Answer(known)) == first
        explained = shown(Answer(known, Outcome(capture.id, False, True, "late")))
        assert explained == {**first, "detail": "The payment provider declined the capture: late."}
        times.append(first["at"])
    assert times[0] < times[1]


def test_pending_commands_are_read_from_outbox_and_refunds_if_the_previous_release_wrote_the_order(
    session: Session, message: Message
) -> None:
    steps.write(session, [path(session, message)])
    refund = Refund(new_id(), 300)
    taken = transition.apply(read(session, message), refund, new_id)
    steps.write(session, [Path(message.merchant, taken, "merchant", {})])
    written = read(session, message)
    session.execute(  # the previous release does not know the columns
        "UPDATE orders SET asked = '[]', version = version + 1 WHERE id = %s", (message.aggregate_id,)
    )
    assert read(session, message).asked == written.asked


def test_a_placed_order_is_read_as_it_was_decided(
    client: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[Order] = []
    place = transition.place

    def remember(*given: Any) -> Step:
        step = place(*given)
        known.append(step.after)
        return step

    monkeypatch.setattr(transition, "place", remember)
    placed = post(client, "/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=1")  # payment cannot be reached
    assert steps.read(session, "demo", placed["id"]) == known[0]


def test_write_returns_the_view_after_the_last_step(session: Session, message: Message) -> None:
    taken = path(session, message, Answer(payment("voided"), answers=message.id))
    (view,) = steps.write(session, [taken])
    assert view is not None
    assert view["body"] == (views.get(session, message.merchant, message.aggregate_id) or {})["body"]


def test_the_cost_of_a_write_does_not_depend_on_statistics(
    databases: Databases, session: Session, message: Message
) -> None:
    """While the statistics say that no message waits, an index of waiting ones seems cheaper than the primary key."""
    fill = """INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, delivered_at)
              SELECT gen_random_uuid(), 'demo', gen_random_uuid(), 'test', '{}', %s FROM generate_series(1, %s)"""
    session.execute("SET statement_timeout = '60s'")
    session.execute("UPDATE outbox SET delivered_at = now() WHERE delivered_at IS NULL AND id <> %s", (message.id,))
    session.execute(fill, (datetime.now(UTC), 5_000))
    session.execute("VACUUM ANALYZE outbox")
    session.execute(fill, (None, 20_000))
    written = {"steps": to_json([steps._parameters(path(session, message), 0)])}
    with psycopg.connect(databases.order, autocommit=True) as connection:
        explained = Explaining(connection).execute(steps._WRITE_ONLY, written)
    session.execute("DELETE FROM outbox WHERE topic = 'test'")
    assert state(session, message) == ("paid", 2, 2, True)
    assert explained.read < 200  # One page for each waiting row would be 20,000.


def test_a_placed_order_is_answered_if_the_database_fails_while_the_caller_waits(
    client: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise psycopg.OperationalError("the server closed the connection")

    monkeypatch.setattr(PaymentGateway, "send", lambda *_: Answer(payment()))
    monkeypatch.setattr(steps, "write", fail)
    placed = post(client, "/v1/orders", ORDER, Prefer="wait=1")
    assert placed["status"] == "pending_payment"
    assert steps.read(session, "demo", placed["id"]) is not None
