"""Which deliveries are claimed; no loop runs in these tests."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest
import uuid_utils
from standardwebhooks import WebhookVerificationError

from chassis.postgres.database import Database, Session
from order.webhooks import queue, store
from order.webhooks.config import Settings
from order.webhooks.keys import Keys
from order.webhooks.model import Attempt, Status, Verdict
from order.webhooks.service import Webhooks
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.explaining import Explaining
from tests.support.webhook_receiver import Receiver

FAILED = Attempt(500, "answered 500", 0.1)
AGAIN = Verdict(Status.PENDING, delay=3600)
SETTINGS = Settings(
    allow_http=True,
    allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),),
    concurrency=1,
    give_up=3600,
    keys=(),
    overlap=0,
    retry=5,
    timeout=10,
)


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    database = Database(databases.order, "test")
    session = database.session()
    session.execute("TRUNCATE webhook_endpoints, webhook_deliveries, webhook_attempts")
    yield session
    database.close()


def new_id() -> str:
    return str(uuid_utils.uuid7())


def add_endpoint(session: Session, merchant: str = "demo") -> str:
    endpoint_id = new_id()
    endpoint: dict[str, Any] = {
        "merchant": merchant,
        "id": endpoint_id,
        "url": "https://x",
        "description": None,
        "secrets": [],
    }
    store.insert(session, {**endpoint, "events": ["order.paid"]})
    return endpoint_id


def add_deliveries(session: Session, endpoint_id: str, number: int, order_id: str | None = None) -> list[str]:
    ids = [new_id() for _ in range(number)]
    for delivery_id in ids:
        session.execute(
            """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, order_id, type, payload)
               SELECT merchant, id, %s, %s, 'order.paid', '{}' FROM webhook_endpoints WHERE id = %s""",
            (delivery_id, order_id, endpoint_id),
        )
    return ids


def claim(session: Session, limit: int = 100, share: int = 100, merchant_share: int = 100) -> list[queue.Delivery]:
    return queue.claim(session, 60, limit, share, merchant_share, 3600)


def ids(deliveries: list[queue.Delivery]) -> list[str]:
    return sorted(each.id for each in deliveries)


def test_a_delivery_is_leased_to_one_worker_and_settled_only_by_it(session: Session) -> None:
    (delivery_id,) = add_deliveries(session, add_endpoint(session), 1)
    (first,) = claim(session)
    assert (first.id, first.attempts, first.tries) == (delivery_id, 1, 1)
    assert 3599 < first.remaining <= 3600
    assert claim(session) == []
    session.execute("UPDATE webhook_deliveries SET leased_until = now() - interval '1 second'")
    (second,) = claim(session)
    assert second.attempts == 2
    delivered = Verdict(Status.DELIVERED)
    assert not queue.settle(session, first, Attempt(200, None, 0.1), delivered)
    assert queue.settle(session, second, Attempt(200, None, 0.1), delivered)
    assert not queue.settle(session, second, Attempt(200, None, 0.1), delivered)
    assert not queue.settle(session, replace(second, owner="one"), FAILED, AGAIN)
    (row,) = session.execute("SELECT number, status_code FROM webhook_attempts").fetchall()
    assert (row["number"], row["status_code"]) == (2, 200)


def test_each_endpoint_gets_its_share_however_many_deliveries_wait_for_another(session: Session) -> None:
    busy, other, third = add_endpoint(session, "a"), add_endpoint(session, "b"), add_endpoint(session, "b")
    add_deliveries(session, busy, 50)
    add_deliveries(session, other, 3)
    add_deliveries(session, third, 1)
    claimed = claim(session, share=2)
    assert sorted(each.endpoint_id for each in claimed) == sorted([busy, busy, other, other, third])
    assert claim(session, share=2) == [], "no more while these are leased"
    for each in claimed:
        assert queue.settle(session, each, Attempt(200, None, 0.1), Verdict(Status.DELIVERED))
    assert sorted(each.endpoint_id for each in claim(session, share=2)) == sorted([busy, busy, other])


def test_a_merchant_gets_its_share_however_many_endpoints_it_has(session: Session) -> None:
    for _ in range(20):
        add_deliveries(session, add_endpoint(session, "many"), 5)
    (wanted,) = add_deliveries(session, add_endpoint(session, "one"), 1)
    claimed = claim(session, limit=16, share=2, merchant_share=4)
    assert sorted(each.merchant for each in claimed) == ["many"] * 4 + ["one"]
    assert len({each.endpoint_id for each in claimed}) == 5, "as many endpoints as possible"
    assert wanted in ids(claimed)
    assert claim(session, limit=16, share=2, merchant_share=4) == [], "no more while these are leased"
    slow, *others = [each for each in claimed if each.merchant == "many"]
    for each in others:
        assert queue.settle(session, each, Attempt(200, None, 0.1), Verdict(Status.DELIVERED))
    again = claim(session, limit=16, share=2, merchant_share=4)
    assert [each.merchant for each in again] == ["many"] * 3
    assert slow.id not in ids(again)


def test_a_merchant_with_few_endpoints_uses_its_whole_share(session: Session) -> None:
    for _ in range(2):
        add_deliveries(session, add_endpoint(session, "two"), 5)
    assert len(claim(session, limit=16, share=2, merchant_share=4)) == 4
    add_deliveries(session, add_endpoint(session, "one"), 5)
    assert [each.merchant for each in claim(session, limit=16, share=2, merchant_share=4)] == ["one"] * 2


def test_the_first_endpoints_of_all_merchants_come_before_second_ones(session: Session) -> None:
    for _ in range(20):
        add_deliveries(session, add_endpoint(session, "many"), 1)
    for merchant in ("a", "z"):
        add_deliveries(session, add_endpoint(session, merchant), 1)
    assert sorted(each.merchant for each in claim(session, limit=3, share=2, merchant_share=4)) == ["a", "many", "z"]


def test_no_more_than_the_limit_is_claimed(session: Session) -> None:
    for _ in range(4):
        add_deliveries(session, add_endpoint(session), 4)
    assert len(claim(session, limit=5, share=2)) == 5
    assert len(claim(session, limit=100, share=2)) == 3


def test_the_events_of_one_order_are_first_tried_in_order(session: Session) -> None:
    endpoint = add_endpoint(session)
    first, second, third = add_deliveries(session, endpoint, 3, new_id())
    elsewhere = add_deliveries(session, endpoint, 1, new_id()) + add_deliveries(session, add_endpoint(session), 1)
    claimed = claim(session)
    assert ids(claimed) == sorted([first, *elsewhere])
    assert claim(session) == []
    (mine,) = [each for each in claimed if each.id == first]
    assert queue.settle(session, mine, FAILED, AGAIN)
    (mine,) = claim(session)
    assert mine.id == second, "a failed delivery does not hold up the next"
    assert queue.settle(session, mine, Attempt(200, None, 0.1), Verdict(Status.DELIVERED))
    assert ids(claim(session)) == [third]


def test_nothing_is_claimed_for_a_paused_disabled_or_deleted_endpoint(session: Session) -> None:
    paused, disabled, deleted = (add_endpoint(session) for _ in range(3))
    waiting = [add_deliveries(session, each, 1)[0] for each in (paused, disabled, deleted)]
    session.execute("UPDATE webhook_endpoints SET paused_until = now() + interval '1 hour' WHERE id = %s", (paused,))
    claimed = {each.endpoint_id: each for each in claim(session)}
    assert set(claimed) == {disabled, deleted}
    assert all(queue.to_send(session, each) for each in claimed.values())
    session.execute(
        "UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = 'gone' WHERE id = %s", (disabled,)
    )
    assert store.delete(session, "demo", deleted)
    assert not any(queue.to_send(session, each) for each in claimed.values()), (
        "nor are those held that wait for a thread"
    )
    session.execute("UPDATE webhook_deliveries SET leased_until = now() - interval '1 second'")
    assert claim(session) == []
    session.execute("UPDATE webhook_endpoints SET paused_until = now() WHERE id = %s", (paused,))
    store.enable(session, "demo", disabled)
    assert ids(claim(session)) == sorted(waiting[:2])


def test_a_requested_delivery_is_claimed_from_a_paused_endpoint_and_no_other_one(session: Session) -> None:
    endpoint, order = add_endpoint(session), new_id()
    first, second = add_deliveries(session, endpoint, 2, order)
    session.execute("UPDATE webhook_endpoints SET paused_until = now() + interval '1 hour'")
    assert claim(session) == []
    store.redeliver(session, "demo", endpoint, second)
    test = new_id()
    store.insert_delivery(session, "demo", endpoint, test, "webhook.test", "{}")
    claimed = claim(session)
    assert ids(claimed) == sorted([second, test])
    for each in claimed:
        assert queue.settle(session, each, FAILED, replace(AGAIN, delay=0))
    assert claim(session) == [], "one attempt each; then they wait like the others"
    (row,) = session.execute("SELECT paused_until > now() AS paused FROM webhook_endpoints").fetchall()
    assert row["paused"], "nothing has ended the pause of the other deliveries"
    session.execute("UPDATE webhook_endpoints SET paused_until = now()")
    assert ids(claim(session)) == sorted([first, test]), "the second one waits for the first of its order again"


def test_operators_who_redeliver_everything_end_no_pause(session: Session) -> None:
    paused, other, quick = add_endpoint(session, "a"), add_endpoint(session, "b"), add_endpoint(session, "b")
    waiting = {each: add_deliveries(session, each, 5) for each in (paused, other, quick)}
    session.execute("UPDATE webhook_deliveries SET status = 'dead', settled_at = now()")
    session.execute("UPDATE webhook_endpoints SET paused_until = now() + interval '1 hour' WHERE id <> %s", (quick,))
    (later,) = session.execute("SELECT now() + interval '1 minute' AS later").fetchall()
    assert store.redeliver_dead(session, None, None, later["later"]) == 15
    rows = session.execute("SELECT id FROM webhook_endpoints WHERE paused_until > now()").fetchall()
    assert {str(row["id"]) for row in rows} == {paused, other}
    # One attempt shows whether a paused endpoint is back.
    assert ids(claim(session)) == sorted([waiting[paused][0], waiting[other][0], *waiting[quick]])


def test_failures_in_a_row_are_counted_and_a_success_ends_the_count_and_the_pause(session: Session) -> None:
    endpoint = add_endpoint(session)
    add_deliveries(session, endpoint, 4)

    def state() -> tuple[int, bool]:
        row = session.execute("SELECT failures, paused_until > now() AS paused FROM webhook_endpoints").fetchone()
        assert row is not None
        return row["failures"], row["paused"]

    first, second, third, last = claim(session)
    assert queue.settle(session, first, FAILED, AGAIN)
    assert state() == (1, False)
    assert queue.settle(session, second, FAILED, replace(AGAIN, pause=600))
    assert state() == (2, True)
    assert queue.settle(session, third, FAILED, AGAIN)
    assert state() == (3, True), "a failure never shortens a pause"
    assert queue.settle(session, last, Attempt(200, None, 0.1), Verdict(Status.DELIVERED))
    assert state() == (0, False)


def test_when_an_endpoint_is_gone_all_its_pending_deliveries_are_dead(session: Session) -> None:
    endpoint = add_endpoint(session)
    add_deliveries(session, endpoint, 3)
    first, second = claim(session, limit=2)
    assert queue.settle(session, first, Attempt(410, "answered 410", 0.1), Verdict(Status.DEAD, gone=True))
    assert not queue.to_send(session, second)
    assert not queue.settle(session, second, FAILED, AGAIN)
    rows = session.execute("SELECT status FROM webhook_deliveries").fetchall()
    assert [row["status"] for row in rows] == ["dead"] * 3


def pending(session: Session) -> int:
    rows = session.execute("SELECT FROM webhook_deliveries WHERE status = 'pending'").fetchall()
    return len(rows)


@pytest.mark.parametrize("later", ["2020-01-01T00:00:00+00:00", "2100-01-01T00:00:00+00:00"])
def test_a_second_redelivery_does_not_cut_off_the_one_under_way(session: Session, later: str) -> None:
    endpoint = add_endpoint(session)
    session.execute(
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, settled_at)
           SELECT 'demo', %s, gen_random_uuid(), 'order.paid', '{}', 'delivered', now()
           FROM generate_series(1, 1500)""",
        (endpoint,),
    )
    store.redeliver_since(session, "demo", endpoint, datetime(2020, 1, 2, tzinfo=UTC))
    queue.redeliver_some(session)
    assert pending(session) == 1000
    store.redeliver_since(session, "demo", endpoint, datetime.fromisoformat(later))
    queue.redeliver_some(session)
    assert pending(session) == 1500


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        (FAILED, replace(AGAIN, pause=3600)),
        (FAILED, Verdict(Status.DEAD)),
        (Attempt(200, None, 0.1), Verdict(Status.DELIVERED)),
    ],
)
def test_a_delivery_that_is_requested_during_an_attempt_is_attempted_once_more(
    session: Session, attempt: Attempt, verdict: Verdict
) -> None:
    endpoint = add_endpoint(session)
    (asked,) = add_deliveries(session, endpoint, 1)
    (under_way,) = claim(session)
    store.redeliver(session, "demo", endpoint, asked)
    assert claim(session) == [], "one attempt at a time"
    assert queue.settle(session, under_way, attempt, verdict) is Status.PENDING
    (again,) = claim(session)
    assert (again.attempts, again.tries) == (2, 1)
    assert queue.settle(session, again, attempt, verdict) is verdict.status
    assert claim(session) == []


@pytest.mark.parametrize("code", [410, 429])
def test_the_answer_of_a_url_that_was_replaced_meanwhile_neither_disables_nor_pauses(
    session: Session, code: int
) -> None:
    endpoint = add_endpoint(session)
    add_deliveries(session, endpoint, 2)
    first, second = claim(session)
    store.change(session, "demo", endpoint, {"url": "https://y"})
    failed = Attempt(code, f"answered {code}", 0.1)
    verdict = Verdict(Status.DEAD, gone=True) if code == 410 else replace(AGAIN, pause=3600)
    assert queue.settle(session, first, failed, verdict) is Status.PENDING
    (again,) = claim(session)
    assert (again.id, again.url, again.failures) == (first.id, "https://y", 0)
    assert queue.settle(session, second, Attempt(200, None, 0.1), Verdict(Status.DELIVERED)) is Status.DELIVERED
    # The new URL's own answer counts.
    assert queue.settle(session, again, failed, verdict) is verdict.status
    assert claim(session) == []
    row = session.one("SELECT status, paused_until > now() AS paused FROM webhook_endpoints")
    assert row == {"status": "disabled" if code == 410 else "enabled", "paused": code == 429}


def test_what_waits_for_a_thread_goes_to_the_new_url_with_the_new_secret(
    session: Session, databases: Databases
) -> None:
    keys, endpoint = Keys(()), add_endpoint(session)
    leaked, new = keys.new("register"), keys.new("rotate")
    store.set_secrets(session, "demo", endpoint, [leaked])
    add_deliveries(session, endpoint, 1)
    (waiting,) = claim(session)
    database = Database(databases.order, "test")
    with Receiver() as receiver:
        store.set_secrets(session, "demo", endpoint, [new])
        store.change(session, "demo", endpoint, {"url": receiver.url})
        Webhooks(database, SETTINGS).deliverer.deliver(waiting)
    database.close()
    (received,) = receiver.received
    assert received.verified(keys.secret(new)) == {}
    with pytest.raises(WebhookVerificationError):
        received.verified(keys.secret(leaked))


@pytest.mark.adversarial
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("by", ["the merchant", "an operator"])
def test_thousands_of_dead_deliveries_are_revived_in_bounded_time(session: Session, known: bool, by: str) -> None:
    """Just after an endpoint was gone, the planner's statistics may know of no dead deliveries."""
    endpoint, dead = add_endpoint(session), 20_000
    add_deliveries(session, add_endpoint(session, "other"), 50)
    session.execute("UPDATE webhook_deliveries SET status = 'delivered', settled_at = now()")
    session.execute("VACUUM ANALYZE webhook_deliveries")
    session.execute(
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, settled_at, last_error)
           SELECT 'demo', %s, gen_random_uuid(), 'order.paid', '{}', 'dead', now(), 'the endpoint is disabled'
           FROM generate_series(1, %s)""",
        (endpoint, dead),
    )
    if known:
        session.execute("ANALYZE webhook_deliveries")
    began, revived = time.monotonic(), 0

    def revive() -> int:
        if by == "the merchant":
            return store.revive(session, "demo", endpoint)
        return store.redeliver_dead(session, None, None, "2100-01-01T00:00:00Z")

    while count := revive():
        revived += count
    assert revived == dead
    assert time.monotonic() - began < 10


def pages_of_a_claim(session: Session) -> int:
    """Return how many pages a claim of 8 deliveries reads. The claim is rolled back."""
    session.execute("BEGIN")
    plan = session.execute(
        b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        + queue.DELIVERIES.claiming.replace("%(owner)s", "'one'")
        .replace("%(lease)s", "60")
        .replace("%(limit)s", "8")
        .replace("%(share)s", "2")
        .replace("%(merchant_share)s", "4")
        .replace("%(give_up)s", "60")
        .encode()
    ).fetchone()
    session.execute("ROLLBACK")
    assert plan is not None
    whole = plan["QUERY PLAN"][0]["Plan"]
    return int(whole["Shared Hit Blocks"] + whole["Shared Read Blocks"])


@pytest.mark.adversarial
@pytest.mark.parametrize("orders", [1, 20])
def test_many_events_of_few_orders_cost_a_claim_no_more_than_some_of_them(session: Session, orders: int) -> None:
    """A merchant can change the labels of an order any number of times, and its endpoint may be slow, or fail."""
    session.execute("SET statement_timeout = '60s'")
    endpoint, events = add_endpoint(session), 40_000
    session.execute(
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, order_id, available_at)
           SELECT 'demo', %(endpoint)s, lpad(to_hex(n), 32, '0')::uuid, 'order.updated', '{}', ids[1 + n %% %(orders)s],
                  now() - (%(events)s - n) * interval '1 second'
           FROM (SELECT array_agg(gen_random_uuid()) AS ids FROM generate_series(1, %(orders)s)) AS orders,
                generate_series(1, %(events)s) AS n""",
        {"endpoint": endpoint, "orders": orders, "events": events},
    )
    session.execute("ANALYZE webhook_deliveries")
    assert len(claim(session, 1)) == 1
    assert pages_of_a_claim(session) < 8_000, "the oldest one is under way, and all others of its order wait for it"
    session.execute("UPDATE webhook_deliveries SET attempts = 1, available_at = now() + interval '1 hour'")
    session.execute("UPDATE webhook_deliveries SET leased_until = NULL, lease_owner = NULL WHERE lease_owner <> ''")
    session.execute("VACUUM webhook_deliveries")
    row = session.execute("SELECT order_id FROM webhook_deliveries LIMIT 1").fetchone()
    assert row is not None
    (newest,) = add_deliveries(session, endpoint, 1, str(row["order_id"]))
    assert pages_of_a_claim(session) < 8_000, "all older ones have failed, and the newest one does not wait for them"
    assert ids(claim(session)) == [newest]


def test_the_backlog_of_one_endpoint_is_not_read_to_find_the_others(session: Session) -> None:
    """Thousands of deliveries that wait for an endpoint that is down cost almost nothing."""
    session.execute("SET statement_timeout = '60s'")
    down, up = add_endpoint(session, "a"), add_endpoint(session, "b")
    session.execute(
        """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload)
           SELECT 'a', %s, gen_random_uuid(), 'order.paid', '{}' FROM generate_series(1, 30000)""",
        (down,),
    )
    session.execute("ANALYZE webhook_deliveries")
    session.execute("UPDATE webhook_endpoints SET paused_until = now() + interval '1 hour' WHERE id = %s", (down,))
    (wanted,) = add_deliveries(session, up, 1)
    assert pages_of_a_claim(session) < 500
    session.execute("UPDATE webhook_deliveries SET leased_until = NULL WHERE id = %s", (wanted,))
    assert ids(claim(session)) == [wanted]


def test_the_cost_of_an_attempt_does_not_depend_on_statistics(session: Session, databases: Databases) -> None:
    """While the statistics say that nothing waits, an index of what waits seems as cheap as the primary key."""
    session.execute("SET statement_timeout = '60s'")
    endpoint = add_endpoint(session)
    fill = """INSERT INTO webhook_deliveries (merchant, endpoint_id, id, type, payload, status, settled_at)
              SELECT 'demo', %s, gen_random_uuid(), 'order.paid', '{}', %s, %s FROM generate_series(1, %s)"""
    session.execute(fill, (endpoint, "delivered", datetime.now(UTC), 5_000))
    session.execute("VACUUM ANALYZE webhook_deliveries")
    session.execute(fill, (endpoint, "pending", None, 20_000))
    (delivery,) = claim(session, 1)
    with psycopg.connect(databases.order, autocommit=True) as connection:
        explaining = Explaining(connection)
        queue.to_send(cast(Session, explaining), delivery)
        assert explaining.read < 100  # The index of what waits has more than 500.
        queue.settle(cast(Session, explaining), delivery, FAILED, AGAIN)
        assert explaining.read < 100


def test_a_redelivery_and_a_settlement_lock_in_the_same_order(session: Session, databases: Databases) -> None:
    endpoint = add_endpoint(session)
    (delivery_id,) = add_deliveries(session, endpoint, 1)
    (leased,) = claim(session)
    redelivering = Database(databases.order, "redelivering", lock_timeout=5.0)
    settled: list[Status | None] = []

    def settle() -> None:
        settling = Database(databases.order, "settling", lock_timeout=20.0)
        with settling.transaction() as other:
            settled.append(queue.settle(other, leased, FAILED, AGAIN))
        settling.close()

    thread = threading.Thread(target=settle)
    waits = "SELECT FROM pg_stat_activity WHERE application_name = 'settling' AND wait_event_type = 'Lock'"
    with redelivering.transaction() as held:
        assert store.get(held, "demo", endpoint, lock=True)
        thread.start()
        eventually(lambda: session.execute(waits).rowcount == 1, "the settlement waits for the endpoint")
        store.redeliver(held, "demo", endpoint, delivery_id)
    thread.join(20)
    redelivering.close()
    assert settled == [Status.PENDING]
    assert [row["status"] for row in session.execute("SELECT status FROM webhook_deliveries").fetchall()] == ["pending"]
