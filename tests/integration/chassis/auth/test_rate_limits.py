"""Rate limits: per merchant after authentication, per address before it, shared through the database."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.test import TestResponse

from chassis.auth import rate_limits
from chassis.auth.rate_limits import RETRY_AFTER, Limiter
from chassis.postgres.database import Database
from tests.support.applications import SERVICES, get, make, refused
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Client
from tests.support.proxy import Proxy
from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY, READONLY_KEY
from tests.support.stack import Stack


@pytest.fixture(autouse=True)
def _empty_table(databases: Databases) -> None:
    for service in SERVICES:
        databases.query(service, "TRUNCATE rate_limits")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def too_many(response: TestResponse, most: int) -> None:
    refused(response, 429, "too-many-requests")
    assert 1 <= int(response.headers["Retry-After"]) <= most


def test_all_keys_of_a_merchant_share_its_quota_and_other_merchants_have_their_own(
    databases: Databases, service: str
) -> None:
    app = make(databases, service, RATE_LIMIT="3/hour")
    for key in (KEY, READONLY_KEY, KEY):
        refused(get(app, key), 404, f"{service}-not-found")
    for key in (KEY, READONLY_KEY):
        too_many(get(app, key), 1200)
    refused(get(app, OTHER_KEY), 404, f"{service}-not-found")
    refused(get(app, KEY + "x"), 401, "unauthorized")
    assert databases.query(service, "SELECT count(*) FROM rate_limits") == [{"count": 2}]


def test_two_processes_share_the_quota_through_the_database(databases: Databases, service: str) -> None:
    one, other = (make(databases, service, RATE_LIMIT="4/hour") for _ in range(2))
    assert [get(app, KEY).status_code for app in (one, other, other, one)] == [404] * 4
    for app in (one, other):
        too_many(get(app, KEY), 900)


def test_concurrent_requests_do_not_exceed_the_quota(databases: Databases) -> None:
    app = make(databases, "order", RATE_LIMIT="20/hour;1000/day")
    with ThreadPoolExecutor(8) as pool:
        answers = Counter(pool.map(lambda _: get(app, KEY).status_code, range(60)))
    assert answers == {404: 20, 429: 40}


@pytest.mark.parametrize("quota", [1, 3, 7, 11, 13, 60])
def test_the_whole_quota_can_be_used_when_it_does_not_divide_the_window(databases: Databases, quota: int) -> None:
    limiter = Limiter("test", rate_limits.parse(f"{quota}/day"), Database(databases.order, "test"))
    assert [limiter.take("demo").passed for _ in range(quota + 1)] == [True] * quota + [False]


def test_the_headers_have_the_remaining_quota(databases: Databases, service: str) -> None:
    app = make(databases, service, RATE_LIMIT="2/hour; 100/day")
    first, second, third = (get(app, KEY) for _ in range(3))
    for response in (first, second, third):
        assert response.headers["RateLimit-Policy"] == '"hour";q=2;w=3600, "day";q=100;w=86400'
    assert first.headers["RateLimit"] == '"hour";r=1;t=1800, "day";r=99;t=864'
    assert re.fullmatch(r'"hour";r=0;t=(3600|35\d\d), "day";r=98;t=17\d\d', second.headers["RateLimit"])
    assert re.fullmatch(r'"hour";r=0;t=(3600|35\d\d), "day";r=98;t=17\d\d', third.headers["RateLimit"])
    assert "Retry-After" not in second.headers
    too_many(third, 1800)


def test_a_quota_becomes_available_again_evenly(databases: Databases) -> None:
    app = make(databases, "order", RATE_LIMIT="2/hour")
    assert [get(app, KEY).status_code for _ in range(2)] == [404, 404]
    databases.query("order", "UPDATE rate_limits SET full_at = ARRAY[full_at[1] - interval '31 minutes']")
    assert [get(app, KEY).status_code for _ in range(2)] == [404, 429]


def test_unused_quota_does_not_accumulate(databases: Databases) -> None:
    limiter = Limiter("test", rate_limits.parse("2/hour"), Database(databases.order, "test"))
    assert limiter.take("demo").passed
    databases.query("order", "UPDATE rate_limits SET full_at = ARRAY[now() - interval '9 days']")
    assert [limiter.take("demo").passed for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [("9/day", "5/second;3/minute"), ("5/minute;9/day", "5/minute"), ("9/day;5/second", "5/second")],
)
def test_changed_limits_delay_nobody_for_longer_than_the_new_window(
    databases: Databases, before: str, after: str
) -> None:
    for text in (before, after):
        limiter = Limiter("test", rate_limits.parse(text), Database(databases.order, "test"))
        decisions = [limiter.take("demo") for _ in range(10)]
    assert len(decisions[-1].ahead) == len(rate_limits.parse(after))
    assert decisions[-1].wait(rate_limits.parse(after)) <= 60 / 3


def test_the_database_counts_as_the_memory_does(databases: Databases) -> None:
    both = rate_limits.parse("7/minute;3/second")
    clock = [0.0]
    nowhere = Limiter("test", both, Database("postgresql://nobody@127.0.0.1:1/nothing", "test"), lambda: clock[0])
    there = Limiter("test", both, Database(databases.order, "test"), lambda: clock[0])
    for _ in range(3):
        mine, theirs = nowhere.take("demo"), there.take("demo")
        assert mine.passed
        assert theirs.passed
        assert mine.ahead == pytest.approx(theirs.ahead, abs=0.2)
    assert not nowhere.take("demo").passed


def test_a_rejected_caller_causes_no_query_until_its_next_request_may_pass(databases: Databases) -> None:
    clock = [0.0]
    limiter = Limiter("test", rate_limits.parse("1/hour"), Database(databases.order, "test"), lambda: clock[0])
    assert [limiter.take("demo").passed for _ in range(2)] == [True, False]
    databases.query("order", "TRUNCATE rate_limits")
    clock[0] = 3500.0
    decision = limiter.take("demo")
    assert not decision.passed
    assert decision.ahead[0] == pytest.approx(100, abs=5)
    assert limiter.take("other").passed
    clock[0] = 3601.0
    assert limiter.take("demo").passed


def test_keys_for_any_merchant_are_not_limited(databases: Databases) -> None:
    app = make(databases, "payment", RATE_LIMIT="1/day")
    for _ in range(3):
        response = get(app, INTERNAL_KEY, Tandem_Merchant="demo")
        refused(response, 404, "payment-not-found")
        assert "RateLimit" not in response.headers
    refused(get(app, KEY), 404, "payment-not-found")
    too_many(get(app, KEY), 86400)


def test_paths_without_a_key_are_not_limited(databases: Databases, service: str) -> None:
    app = make(databases, service, RATE_LIMIT="1/day", RATE_LIMIT_UNAUTHENTICATED="1/day")
    client = app.test_client()
    for path in ("/livez", "/readyz", "/problems/too-many-requests", "/openapi.json"):
        for _ in range(3):
            response = client.get(path)
            assert response.status_code == 200
            assert "RateLimit" not in response.headers
    assert databases.query(service, "SELECT * FROM rate_limits") == []


def test_without_limits_nothing_is_counted(databases: Databases, service: str) -> None:
    app = make(databases, service)
    response = get(app, KEY)
    assert not {"RateLimit", "RateLimit-Policy"} & set(response.headers.keys())
    assert databases.query(service, "SELECT * FROM rate_limits") == []


UNAUTHENTICATED = {"RATE_LIMIT_UNAUTHENTICATED": "2/hour"}


def test_invalid_keys_are_limited_by_address_and_valid_keys_are_not_affected(
    databases: Databases, service: str
) -> None:
    app = make(databases, service, **UNAUTHENTICATED)
    for wrong in (None, KEY + "x"):
        refused(get(app, wrong), 401, "unauthorized")
    for wrong in (None, KEY + "x"):
        too_many(get(app, wrong), 1800)
    refused(get(app, KEY), 404, f"{service}-not-found")
    refused(get(app, None, "192.0.2.1"), 401, "unauthorized")
    refused(get(app, READONLY_KEY, "192.0.2.1"), 404, f"{service}-not-found")


def test_an_ipv6_network_is_one_address(databases: Databases) -> None:
    app = make(databases, "order", **UNAUTHENTICATED)
    statuses = [get(app, None, f"2001:db8:0:{net}::{host}").status_code for net in (1, 2) for host in range(1, 4)]
    assert statuses == [401, 401, 429] * 2
    assert [get(app, None, address).status_code for address in ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7")] == [
        401,
        401,
        429,
    ]


def test_the_client_address_comes_from_the_trusted_proxies_only(databases: Databases) -> None:
    forwarded = {"X_Forwarded_For": "203.0.113.5, 192.0.2.9"}
    app = make(databases, "order", TRUSTED_PROXIES="1", **UNAUTHENTICATED)
    for _ in range(2):
        refused(get(app, None, "10.0.0.1", **forwarded), 401, "unauthorized")
    too_many(get(app, None, "10.0.0.2", X_Forwarded_For="198.51.100.1, 192.0.2.9"), 1800)
    refused(get(app, None, "10.0.0.1", X_Forwarded_For="192.0.2.10"), 401, "unauthorized")
    trusting_nobody = make(databases, "order", **UNAUTHENTICATED)
    for spoofed in ("1.1.1.1", "1.1.1.2"):
        refused(get(trusting_nobody, None, "10.9.9.9", X_Forwarded_For=spoofed), 401, "unauthorized")
    too_many(get(trusting_nobody, None, "10.9.9.9", X_Forwarded_For="1.1.1.3"), 1800)


@pytest.mark.adversarial
@pytest.mark.parametrize(
    ("same", "other"),
    [
        (["192.0.2.1:1024", "192.0.2.1", "192.0.2.1:2048"], "192.0.2.2:1024"),
        (["[2001:db8::1]:1024", "2001:db8::2", "[2001:db8::3]"], "[2001:db8:0:1::1]:1024"),
        (["[::ffff:192.0.2.1]:1024", "192.0.2.1:2048", "192.0.2.1"], "[::ffff:192.0.2.2]:1024"),
    ],
)
def test_a_port_that_a_proxy_writes_behind_an_address_makes_no_other_client(
    databases: Databases, same: list[str], other: str
) -> None:
    app = make(databases, "order", TRUSTED_PROXIES="1", **UNAUTHENTICATED)
    assert [get(app, None, X_Forwarded_For=each).status_code for each in same] == [401, 401, 429]
    refused(get(app, None, X_Forwarded_For=other), 401, "unauthorized")


def test_without_the_database_each_process_counts_for_itself(databases: Databases) -> None:
    parts = urlsplit(databases.order)
    assert parts.hostname
    assert parts.port
    clock = [0.0]
    with Proxy(parts.hostname, parts.port) as proxy:
        where = parts._replace(netloc=f"{parts.username}:{parts.password}@{urlsplit(proxy.url).netloc}").geturl()
        one, other = (
            Limiter("test", rate_limits.parse("4/hour"), rate_limits.database(where, "test"), lambda: clock[0])
            for _ in range(2)
        )
        assert all(limiter.take("demo").passed for limiter in (one, other))
        proxy.mode = "refuse"
        for limiter in (one, other):
            assert [limiter.take("demo").passed for _ in range(5)] == [True] * 4 + [False]
        proxy.mode = "pass"
        assert one.take("third").passed
        assert databases.query("order", "SELECT caller FROM rate_limits") == [{"caller": "test demo"}]
        clock[0] = RETRY_AFTER
        assert one.take("third").passed
        assert len(databases.query("order", "SELECT caller FROM rate_limits")) == 2, "the database is used again"


def test_a_database_that_hangs_does_not_delay_requests(databases: Databases) -> None:
    limiter = Limiter("test", rate_limits.parse("4/hour"), rate_limits.database(databases.order, "test"))
    assert limiter.take("demo").passed
    with Database(databases.order, "holder").transaction() as session:
        session.execute("LOCK TABLE rate_limits")
        took: list[bool] = []
        thread = threading.Thread(target=lambda: took.append(limiter.take("demo").passed))
        thread.start()
        thread.join(5)
        assert took == [True]


def test_a_flood_of_callers_uses_bounded_memory(databases: Databases) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", "test")
    limiter = Limiter("test", rate_limits.parse("1/day"), nowhere)
    for caller in range(5000):
        limiter.take(str(caller))
        limiter.take(str(caller))
    assert len(limiter._local) <= 4096
    assert len(limiter._rejected) <= 4096


def test_rows_with_a_whole_quota_are_purged(databases: Databases) -> None:
    app = make(databases, "order", RATE_LIMIT="100/second;100/day")
    get(app, KEY)
    get(app, OTHER_KEY)
    databases.query("order", "UPDATE rate_limits SET full_at = ARRAY[now(), now()] WHERE caller = 'merchant other'")
    result = app.test_cli_runner().invoke(args=["purge"])
    assert "1 of rate_limits" in result.output
    assert databases.query("order", "SELECT caller FROM rate_limits") == [{"caller": "merchant demo"}]


def test_all_processes_share_the_quota_and_accepted_orders_are_paid(databases: Databases, tmp_path: Path) -> None:
    with mock.patch.dict("os.environ", {"RATE_LIMIT": "20/day"}), Stack(databases, tmp_path) as stack:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: stack.order.post("/v1/orders", ORDER), range(40)))
        assert Counter(answer.status_code for answer in answers) == {201: 20, 429: 20}
        _assert_too_many(next(answer for answer in answers if answer.status_code == 429))
        placed = [answer.json()["id"] for answer in answers if answer.status_code == 201]
        paid = "SELECT count(*) FROM orders WHERE status = 'paid'"
        eventually(lambda: databases.query("order", paid)[0]["count"] == 20, "all accepted orders are paid")
        assert len({row["order_id"] for row in databases.query("payment", "SELECT order_id FROM payments")}) == 20
        assert Client(stack.order.url, OTHER_KEY).get(f"/v1/orders/{placed[0]}").status_code == 404


def _assert_too_many(answer: requests.Response) -> None:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert urlsplit(json.loads(answer.text)["type"]).path == "/problems/too-many-requests"
    assert 1 <= int(answer.headers["Retry-After"]) <= 4320
    assert answer.headers["RateLimit-Policy"] == '"day";q=20;w=86400'
    assert answer.headers["RateLimit"].startswith('"day";r=0;t=')
