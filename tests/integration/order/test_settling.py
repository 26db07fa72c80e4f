"""What payment answers is settled in one statement, or not at all: whatever has come in between is left as it is."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

import order
from chassis.messaging import outbox
from chassis.messaging.outbox import Message
from chassis.postgres.database import Database, Session
from order import progress, store
from order.gateway import Answer, RefundOutcome
from order.model import Payment
from order.progress import Overtaken, Seen
from tests.integration.databases import Databases
from tests.integration.eventually import eventually
from tests.integration.pair import ORDER
from tests.integration.settings import KEY, environment


@pytest.fixture(scope="module")
def client(databases: Databases) -> Any:
    with mock.patch.dict(os.environ, environment(databases.order, {"PAYMENT_URL": "http://127.0.0.1:9"})):
        return order.create_app().test_client()


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
def message(client: Any, session: Session) -> Message:
    """What a new order asks of payment, leased to us."""
    placed = post(client, "/v1/orders", ORDER)
    return next(message for message in outbox.claim(session, 60, 100) if message.aggregate_id == placed["id"])


def payment(status: str = "captured") -> Payment:
    captured = 900 if status == "captured" else 0
    return Payment(str(uuid.uuid4()), 2, status, 900, "EUR", captured_amount=captured)


def looked(session: Session, message: Message) -> Seen:
    seen = progress.look(session, message)
    assert seen is not None
    return seen


def settled(seen: Seen, answer: Answer) -> bool:
    """Whether what was seen could be settled; if not, it was overtaken."""
    try:
        seen.learn(answer)
    except Overtaken:
        return False
    return True


def stands(session: Session, message: Message) -> tuple[Any, ...]:
    """The order's status and version, how many events tell of it, and whether the message was delivered."""
    row = session.one(
        """SELECT status, version, (SELECT count(*) FROM order_events WHERE order_id = o.id) AS events,
                  (SELECT delivered_at IS NOT NULL FROM outbox WHERE id = %(message)s) AS delivered
           FROM orders o WHERE id = %(id)s""",
        {"id": message.aggregate_id, "message": message.id},
    )
    assert row is not None
    return tuple(row.values())


@pytest.mark.parametrize(
    ("status", "then"), [("captured", "paid"), ("authorized", "authorized"), ("failed", "payment_failed")]
)
def test_the_order_s_step_and_the_message_s_mark_are_one(
    session: Session, message: Message, status: str, then: str
) -> None:
    seen = looked(session, message)
    answer = Answer(payment(status))
    assert seen.is_one_step(answer)
    seen.learn(answer)
    assert stands(session, message) == (then, 2, 2, True)
    assert seen.steps == [("pending_payment", then)]
    assert outbox.claim(session, 60, 100) == []


def write(session: Session, message: Message) -> None:
    session.execute("UPDATE orders SET version = version + 1 WHERE id = %s", (message.aggregate_id,))


def write_without_a_version(session: Session, message: Message) -> None:
    # As the sweep does, when it puts the command back.
    session.execute("UPDATE orders SET swept_at = now() WHERE id = %s", (message.aggregate_id,))


def take_the_lease(session: Session, message: Message) -> None:
    session.execute("UPDATE outbox SET leased_until = now() - interval '1 s' WHERE id = %s", (message.id,))
    assert message.id in [taken.id for taken in outbox.claim(session, 60, 100)]


def deliver(session: Session, message: Message) -> None:
    assert outbox.mark_delivered(session, message)


@pytest.mark.parametrize("what", [write, write_without_a_version, take_the_lease, deliver])
def test_what_came_in_between_leaves_all_as_it_is(
    session: Session, other: Session, message: Message, what: Any
) -> None:
    seen = looked(session, message)
    what(other, message)
    before = stands(session, message)
    with pytest.raises(Overtaken):
        seen.learn(Answer(payment()))
    assert stands(session, message) == before


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("what", [write, write_without_a_version, deliver])
def test_what_is_under_way_is_waited_for(
    session: Session, other: Session, message: Message, what: Any, end: str
) -> None:
    seen = looked(session, message)
    other.execute("BEGIN")
    what(other, message)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(settled, seen, Answer(payment()))
        waits = "SELECT FROM pg_stat_activity WHERE application_name = 'settling-test' AND wait_event_type = 'Lock'"
        eventually(lambda: other.execute(waits.encode()).fetchone() is not None, "it waits for the lock", 5)
        other.execute(end.encode())
        assert outcome.result() is (end == "ROLLBACK")
    assert (stands(session, message) == ("paid", 2, 2, True)) is (end == "ROLLBACK")


def test_only_one_of_two_settles(databases: Databases, session: Session, message: Message) -> None:
    answer = Answer(payment())
    seen = [looked(Database(databases.order, "two").connect(), message) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(settled, seen, [answer, answer])) == [False, True]
    assert stands(session, message) == ("paid", 2, 2, True)
    for one in seen:
        one.session.close()


def test_what_is_more_than_one_step_is_left_to_the_lock(client: Any, session: Session, message: Message) -> None:
    pending = looked(session, message)
    refund = RefundOutcome(str(uuid.uuid4()), "succeeded", None)
    assert not pending.is_one_step(Answer(payment("processing")))
    assert not pending.is_one_step(Answer(payment("voided")))  # canceling, then canceled
    assert not pending.is_one_step(Answer(payment(), refund))
    assert not pending.is_one_step(Answer(payment(), void_declined="void_declined"))
    assert pending.is_one_step(Answer(payment()))
    post(client, f"/v1/orders/{message.aggregate_id}/cancel", {})
    asked = str(uuid.uuid4())
    session.execute(
        "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload) VALUES (%s, %s, %s, 'payment.void', '{}')",
        (asked, message.merchant, message.aggregate_id),
    )
    assert not looked(session, message).is_one_step(Answer(payment("failed")))
    session.execute("DELETE FROM outbox WHERE id = %s", (asked,))
    assert looked(session, message).is_one_step(Answer(payment("failed")))


def test_old_news_is_no_step(session: Session, message: Message) -> None:
    told = Answer(payment("authorized"))
    looked(session, message).learn(told)
    assert not looked(session, message).is_one_step(told)
    assert not looked(session, message).is_one_step(Answer(payment()))  # another payment than the one it has


def test_what_was_looked_at_is_what_a_lock_finds(session: Session, message: Message) -> None:
    found = store.look(session, message.merchant, message.aggregate_id, message.id)
    assert found is not None
    seen_as = found.pop("seen_as")
    with session.atomic():
        locked = store.lock(session, message.merchant, message.aggregate_id)
    assert locked is not None
    assert locked.pop("asked") == ["payment.create"]  # which is answered
    assert found.pop("asked") == []
    assert (found, bool(seen_as)) == (locked, True)


def test_what_was_placed_is_what_a_look_finds(client: Any, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[Seen] = []
    placed = progress.placed

    def remember(*given: Any) -> Seen:
        known.append(placed(*given))
        return known[-1]

    monkeypatch.setattr(progress, "placed", remember)
    post(client, "/v1/orders", {**ORDER, "capture": "manual"}, Prefer="wait=1")  # payment can't be reached
    (one,) = known
    seen = looked(session, one.answers)
    assert (one.order, one.payment, one.headers, one.id) == (seen.order, seen.payment, seen.headers, seen.id)
    assert {name: one.row[name] for name in seen.row} == seen.row


def test_the_view_is_the_order_s(session: Session, message: Message) -> None:
    seen = looked(session, message)
    seen.learn(Answer(payment()))
    assert seen.view is not None
    assert seen.view["body"] == (store.get(session, message.merchant, message.aggregate_id) or {})["body"]
