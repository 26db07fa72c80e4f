"""Every event arrives at a real broker, as a CloudEvent; positions move when the broker has acknowledged."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from chassis.postgres.database import Session
from order.feed.store import Place
from order.publisher import cloudevents, store
from order.publisher.cloudevents import Message
from order.publisher.store import Move, Page
from tests.integration.order.feed.test_feed import follow
from tests.integration.order.webhooks.test_events import place, post
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.fixtures.publisher import clean, session
from tests.support.nats_server import NatsServer, received
from tests.support.pair import Pair
from tests.support.publishing import assert_in_order, publishing, record
from tests.unit.test_asyncapi_document import payload

__all__ = ["clean", "session"]


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


class Recorder:
    """A broker that keeps what it gets. `refused` are the merchants whose events it does not acknowledge."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.got: list[str] = []
        self.rounds = 0

    def publish(self, messages: Sequence[Message]) -> tuple[set[str], str | None]:
        self.rounds += 1
        accepted = {message.id for message in messages if not self._refuses(message)}
        self.got += [message.id for message in messages if message.id in accepted]
        return accepted, None if len(accepted) == len(messages) else "the broker refuses"

    def _refuses(self, message: Message) -> bool:
        return message.subject.split(".")[1] in self.refused or message.id in self.refused

    def close(self) -> None:
        pass


def of_order(nats: NatsServer, order: str) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    return [each for each in received(nats.url) if each[2]["subject"] == order]


def behind(page: Page) -> Move:
    """Return the move of a position behind the last event of a page."""
    last = page.rows[-1]
    return Move(page.merchant, page.place, Place(last["position"], str(last["order_id"]), last["version"]))


def is_published(session: Session) -> bool:
    return store.oldest_seconds(session) == 0.0


def test_each_step_of_an_order_arrives_as_a_cloud_event_in_order(pair: Pair, nats: NatsServer) -> None:
    order = place(pair)
    post(pair, order, "refunds", {"amount": 100})
    with publishing(pair.databases, nats.url):
        eventually(lambda: len(follow(pair.order, order_id=order["id"])) == 4, "the refund ended")
        eventually(lambda: len(of_order(nats, order["id"])) == 4, "all arrived")
    wanted, arrived = follow(pair.order, order_id=order["id"]), of_order(nats, order["id"])
    for (subject, headers, event), fed in zip(arrived, wanted, strict=True):
        assert subject == f"tandem.demo.order.{fed['type']}"
        assert headers["Nats-Msg-Id"] == fed["id"]
        assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
        assert event == {
            "specversion": "1.0",
            "id": fed["id"],
            "source": "/tandem/order",
            "type": fed["type"],
            "subject": order["id"],
            "time": fed["created_at"],
            "datacontenttype": "application/json",
            "merchant": "demo",
            "orderversion": fed["version"],
            "data": {"order": fed["data"], "refund": fed["refund"]},
        }
        assert list(payload().iter_errors(event)) == [], "docs/asyncapi describes it"


def test_a_publisher_continues_where_the_one_before_stopped(
    databases: Databases, nats: NatsServer, session: Session
) -> None:
    merchant, ids = f"m-{uuid.uuid4()}", []
    for _ in range(3):
        ids += record(databases, merchant, orders=40, versions=3)
        with publishing(databases, nats.url):
            eventually(lambda: is_published(session), "all are published")
    events = [event for _, _, event in received(nats.url) if event["merchant"] == merchant]
    assert [event["id"] for event in events] != []
    assert sorted(event["id"] for event in events) == sorted(ids), "each arrived once"
    assert_in_order(events)


def test_a_merchants_dots_do_not_divide_the_subject(databases: Databases, nats: NatsServer, session: Session) -> None:
    merchant = f"shop.example_{uuid.uuid4()}"
    record(databases, merchant)
    with publishing(databases, nats.url):
        eventually(lambda: is_published(session), "all are published")
    subjects = [subject for subject, _, event in received(nats.url) if event["merchant"] == merchant]
    assert subjects == [f"tandem.{merchant.replace('.', '%2E')}.order.order.placed"]
    assert cloudevents.token("plain-name_1") == "plain-name_1"


def test_what_the_broker_did_not_acknowledge_is_published_again(databases: Databases, session: Session) -> None:
    merchant = f"m-{uuid.uuid4()}"
    ids = record(databases, merchant, orders=5)
    refusing = Recorder(ids[2])
    with publishing(databases, refusing):
        eventually(lambda: refusing.rounds >= 2, "it has been tried again")
    assert refusing.got == ids[:2] + ids[3:], "events of other orders are published, and once"
    assert store.oldest_seconds(session)
    accepting = Recorder()
    with publishing(databases, accepting):
        eventually(lambda: is_published(session), "all are published")
    assert accepting.got == ids[2:], "the position is behind the last event before which all were acknowledged"


def test_a_merchant_whose_events_are_refused_does_not_delay_others(databases: Databases, session: Session) -> None:
    bad, good = f"bad-{uuid.uuid4()}", f"good-{uuid.uuid4()}"
    record(databases, bad)
    broker = Recorder(bad)
    with publishing(databases, broker):
        eventually(lambda: broker.rounds > 2, "the bad one is tried again")
        ids = record(databases, good, orders=120)
        eventually(lambda: broker.got == ids, "all of the good one arrived")
        assert store.oldest_seconds(session), "the gauge shows the one that was refused"
        row = session.one("SELECT last_error, published_at FROM event_publisher")
    assert row
    assert row["last_error"] == "the broker refuses"
    assert row["published_at"] is not None


def test_one_publisher_works_at_a_time_and_another_takes_over(databases: Databases, session: Session) -> None:
    merchant = f"m-{uuid.uuid4()}"
    first, second = Recorder(), Recorder()
    with publishing(databases, second):
        with publishing(databases, first):
            ids = record(databases, merchant, orders=200)
            eventually(lambda: is_published(session), "all are published")
        assert sorted(first.got + second.got) == sorted(ids)
        assert min(len(first.got), len(second.got)) == 0, "both published at the same time"
        ids = record(databases, merchant, orders=10)
        eventually(lambda: is_published(session), "the other one took over when the first one ended")
    assert second.got[-10:] == ids


def test_a_publisher_takes_over_when_the_lease_of_a_killed_one_expires(databases: Databases, session: Session) -> None:
    assert store.claim(session, lease=0.5) is not None
    ids, broker = record(databases, f"m-{uuid.uuid4()}", orders=3), Recorder()
    with publishing(databases, broker, lease=1.0):
        eventually(lambda: broker.got == ids, "it took over")


def test_a_publisher_that_has_lost_its_lease_moves_nothing(databases: Databases, session: Session) -> None:
    record(databases, f"m-{uuid.uuid4()}")
    old = store.claim(session, lease=0.001)
    assert old is not None
    new = eventually(lambda: store.claim(session, lease=60), "the lease expired")
    page = eventually(lambda: store.read(session), "the event is in the feed")[0]
    assert new is not None
    move = behind(page)
    assert store.move(session, old, 60, [move], None) is False
    assert not store.renew(session, old, 60)
    store.release(session, old)
    assert store.claim(session, 60) is None, "the new one still has it"
    assert not is_published(session)
    assert store.move(session, new, 60, [move], None) is True
    assert is_published(session)


def test_a_rewind_during_a_round_is_not_overwritten(databases: Databases, session: Session) -> None:
    ids = record(databases, f"m-{uuid.uuid4()}", orders=3)
    owner = store.claim(session, lease=60)
    assert owner
    eventually(lambda: [len(page.rows) for page in store.read(session)] == [3], "they are in the feed")
    (page,) = store.read(session)
    store.rewind(session, Place(1))
    assert store.move(session, owner, 60, [behind(page)], None)
    assert not is_published(session)
    store.release(session, owner)
    broker = Recorder()
    with publishing(databases, broker):
        eventually(lambda: is_published(session), "all are published again")
    assert set(ids) <= set(broker.got)


def command(pair: Pair, *arguments: str) -> Result:
    return pair.order_app.test_cli_runner().invoke(args=list(arguments))


def test_republish_publishes_the_events_since_a_time_again(pair: Pair, session: Session) -> None:
    merchant = f"m-{uuid.uuid4()}"
    before = record(pair.databases, merchant)
    row = session.execute("SELECT now()::text AS now").fetchone()
    assert row
    ids, broker = record(pair.databases, merchant, orders=3), Recorder()
    with publishing(pair.databases, broker):
        eventually(lambda: is_published(session), "all are published")
        again = command(pair, "republish", "--since", row["now"])
        assert again.exit_code == 0, again.output
        eventually(lambda: broker.got == before + ids + ids, "they are published again, and not the one before")


def test_the_command_needs_a_url(pair: Pair) -> None:
    result = command(pair, "publisher")
    assert result.exit_code == 2
    assert "EVENTS_URL is not set" in result.output


def test_the_gauge_is_there_once_a_publisher_has_run_until_it_is_forgotten(pair: Pair, session: Session) -> None:
    assert store.oldest_seconds(session) is None
    with publishing(pair.databases, Recorder()):
        eventually(lambda: store.oldest_seconds(session) == 0.0, "it has run")
    record(pair.databases, f"m-{uuid.uuid4()}")
    assert eventually(lambda: store.oldest_seconds(session), "an event waits")
    assert command(pair, "publisher", "--forget").exit_code == 0
    assert store.oldest_seconds(session) is None


def test_a_slow_transaction_hides_no_event_from_the_publisher(databases: Databases, session: Session) -> None:
    merchant, broker = f"m-{uuid.uuid4()}", Recorder()
    with publishing(databases, broker), psycopg.connect(databases.order) as slow:
        row = slow.execute(
            """INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)
               VALUES (%s, gen_random_uuid(), 1, 'order.placed', 'pending_payment', 'merchant') RETURNING id""",
            (merchant,),
        ).fetchone()
        later = record(databases, merchant, orders=3)
        eventually(lambda: store.oldest_seconds(session), "the later ones are not published: they would hide the first")
        slow.commit()
        assert row
        eventually(lambda: broker.got == [str(row[0]), *later], "all arrived, the first one first")


def test_a_broker_that_is_away_is_reported_and_nothing_else_waits(pair: Pair, session: Session, tmp_path: Path) -> None:
    nats = NatsServer(tmp_path)
    with nats:
        pass
    with publishing(pair.databases, nats.url):
        orders = [place(pair)["id"] for _ in range(3)]
        eventually(lambda: (store.oldest_seconds(session) or 0) > 0.5, "the gauge grows")
        row = eventually(
            lambda: session.one("SELECT last_error FROM event_publisher WHERE last_error IS NOT NULL"), "an error"
        )
        assert row
        assert "Connect call failed" in row["last_error"]
        nats.start()
        nats.await_ready()
        eventually(lambda: is_published(session), "what waited is published", 30)
    events = [event for _, _, event in received(nats.url)]
    nats.kill()
    assert_in_order(events)
    assert {event["subject"] for event in events} >= set(orders)
    assert len({event["id"] for event in events}) == len(events) == 6


@pytest.mark.adversarial
def test_events_of_a_merchant_that_the_broker_always_refuses_delay_no_other_merchants_event(
    databases: Databases, session: Session
) -> None:
    """An event can be larger than the broker's limit, for example."""
    record(databases, "poison", orders=3)
    broker = Recorder("poison")
    with publishing(databases, broker):
        eventually(lambda: broker.rounds > 8, "the broker has refused the events many times", 60)
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            expected = set(record(databases, "quick"))
            eventually(partial(expected.issubset, broker.got), "the other merchant's event is published", 60)
            seconds.append(time.monotonic() - began)
        assert sorted(seconds)[2] < 1, seconds
        broker.refused.clear()
        eventually(lambda: len(broker.got) == 8, "what was refused is published", 60)
