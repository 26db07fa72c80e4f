"""What real processes log: one JSON object a line whatever was sent, no secret, no card number."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.support.eventually import eventually
from tests.support.fixtures.processes import stack
from tests.support.pair import ORDER, Client
from tests.support.raw_http import exchange, head
from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY, SECRET
from tests.support.stack import Stack

__all__ = ["stack"]

CARD = "4111111111111111"


@pytest.fixture(scope="module")
def talkative(stack: Stack) -> Stack:
    """The stack, with the log level of production."""
    for process in stack.processes.values():
        process.env = {**process.env, "LOG_LEVEL": "info"}
        process.starts = 0
        process.kill()
    for client in (stack.order, stack.payment):
        eventually(lambda client=client: _serves(client), "it is back", 60)  # type: ignore[misc]
    return stack


def _serves(client: Client) -> bool:
    try:
        return bool(client.get("/readyz").status_code == 200)
    except OSError:
        return False


def lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        assert line.startswith("{"), line
        found.append(json.loads(line))
    return found


def logged(stack: Stack, request_id: str, service: str = "order", role: str = "web") -> dict[str, Any]:
    """The line about the request with this id."""

    def look() -> dict[str, Any] | None:
        everything = lines(stack.folder / f"{service}-{role}.log")
        return next((one for one in everything if one.get("request_id") == request_id), None)

    return eventually(look, "the request is logged") or {}


@pytest.mark.parametrize(
    "text", ["\n", "\r\n", "\x1b[2J", "\x00", "\u2028", '"}\n{"event": "forged"}', "\x85", "\ud800", "\u202e"]
)
def test_whatever_the_path_holds_it_is_one_line(talkative: Stack, text: str) -> None:
    before = len(lines(talkative.folder / "order-web.log"))
    response = talkative.order.get("/" + quote(text.encode(errors="surrogatepass")))
    assert response.status_code == 404
    line = logged(talkative, response.headers["X-Request-Id"])
    assert (line["event"], line["route"], line["status"]) == ("request", "unmatched", 404)
    after = lines(talkative.folder / "order-web.log")[before:]
    assert not any(one["event"] == "forged" for one in after)


def test_what_can_not_be_read_is_logged_without_what_was_sent(talkative: Stack) -> None:
    request = head("/v1/orders", f"Authorization : Bearer {KEY}\x1b[2J", f"X_Y: {CARD}")
    _, headers, _ = exchange(talkative.order, request)
    line = logged(talkative, headers["x-request-id"])
    assert (line["route"], line["status"], line["problem"]) == ("unread", 400, "malformed-request")


def test_no_key_and_no_secret_is_ever_logged(talkative: Stack) -> None:
    talkative.order.post("/v1/orders", ORDER, Prefer="wait=10")
    Client(talkative.order.url, "tdm_nobodys_key").get("/v1/orders")
    for scheme in ("Basic", "Bearer", "bearer Bearer"):
        talkative.order.get("/v1/orders", headers={"Authorization": f"{scheme} tdm_mistaken"})
    last = talkative.order.get("/v1/orders", headers={"X-Request-Id": "secrets"})
    assert last.status_code == 200
    logged(talkative, "secrets")
    for path in talkative.folder.glob("*.log"):
        text = path.read_text()
        for secret in (KEY, OTHER_KEY, INTERNAL_KEY, SECRET, "tdm_nobodys_key", "tdm_mistaken", "postgresql://"):
            assert secret not in text, path.name


def test_card_numbers_are_refused_and_masked_wherever_they_stand(talkative: Stack) -> None:
    order = talkative.order
    refused = [
        order.post("/v1/orders", {**ORDER, "customer": CARD}),
        order.post("/v1/orders", {**ORDER, CARD: 1}),
        order.post("/v1/orders", ORDER, f"key-{CARD}"),
        order.get(f"/v1/orders?customer={CARD}"),
        order.get("/v1/orders?customer=4111+1111%201111-1111"),
        order.get(f"/v1/orders?{CARD}=1"),
        order.get(f"/v1/orders/{uuid.uuid4()}?{CARD}"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/card-number"), answer.text
    others = [
        order.get(f"/{CARD}"),
        order.get("/v1/orders/4111-1111-1111-1111"),
        order.get(
            f"/v1/orders/{uuid.uuid4()}", headers={"X-Request-Id": CARD, "traceparent": f"00-{'a' * 32}-{CARD}-01"}
        ),
        order.request("PUT", f"/problems/{CARD}"),
        order.post("/v1/orders", ORDER, traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate=f"a={CARD}"),
        order.post("/v1/orders", ORDER, traceparent=f"00-{'a' * 32}-{CARD}-01"),
    ]
    logged(talkative, others[-1].headers["X-Request-Id"])
    spellings = (CARD, "4111-1111-1111-1111", "4111 1111 1111 1111")
    for answer in (*refused, *others):
        assert not any(spelling in answer.text + str(answer.headers) for spelling in spellings), answer.text
    for path in talkative.folder.glob("*.log"):
        assert not any(spelling in path.read_text() for spelling in spellings), path.name
    stored = talkative.databases.query("order", "SELECT headers::text AS text FROM outbox")
    assert not any(CARD in row["text"] for row in stored)


@pytest.mark.parametrize(
    ("breaking", "mending"),
    [
        (
            "ALTER TABLE orders ALTER COLUMN metadata DROP DEFAULT, ALTER COLUMN metadata TYPE int USING 0",
            "ALTER TABLE orders ALTER COLUMN metadata TYPE jsonb USING '{}', ALTER COLUMN metadata SET DEFAULT '{}'",
        ),
        (
            "ALTER TABLE orders ADD CONSTRAINT broken CHECK (total_amount < 0) NOT VALID",
            "ALTER TABLE orders DROP CONSTRAINT broken",
        ),
    ],
    ids=["a column of another type", "a constraint that nobody expects"],
)
def test_an_error_tells_nothing_of_the_inside(talkative: Stack, breaking: str, mending: str) -> None:
    talkative.databases.query("order", breaking)
    try:
        answer = talkative.order.post("/v1/orders", ORDER)
        assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
        assert answer.headers["Content-Type"] == "application/problem+json"
        for inside in ("psycopg", "Traceback", "orders", "INSERT", "constraint", "jsonb", ".py"):
            assert inside not in answer.text.replace("/v1/orders", "")
        line = logged(talkative, answer.headers["X-Request-Id"])
        assert (line["event"], line["level"]) == ("unexpected", "error")
        assert "Traceback" in line["exception"]
    finally:
        talkative.databases.query("order", mending)
    assert talkative.order.post("/v1/orders", ORDER).status_code == 201


def test_a_column_that_is_not_there_yet_is_503_and_tells_nothing_of_the_inside(talkative: Stack) -> None:
    talkative.databases.query("payment", "ALTER TABLE payments RENAME COLUMN capture TO gone")
    try:
        answer = talkative.payment.get("/v1/payments")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert not any(inside in answer.text for inside in ("capture", "column", "psycopg", "SELECT"))
    finally:
        talkative.databases.query("payment", "ALTER TABLE payments RENAME COLUMN gone TO capture")
    assert talkative.payment.get("/v1/payments").status_code == 200


def test_a_trace_is_followed_to_payment_and_back(talkative: Stack) -> None:
    trace, state = uuid.uuid4().hex, "vendor=opaque,other=1"
    placed = talkative.order.post(
        "/v1/orders", {**ORDER, "capture": "manual"}, traceparent=f"00-{trace}-{'b' * 16}-01", tracestate=state
    )
    own = f"/v1/orders/{placed.json()['id']}"
    eventually(lambda: talkative.order.get(own).json()["status"] == "authorized", "the order is authorized")

    def of(service: str, trace: str) -> set[str]:
        everything = lines(talkative.folder / f"{service}-web.log")
        return {one["route"] for one in everything if one.get("trace_id") == trace and one["event"] == "request"}

    eventually(lambda: of("payment", trace) == {"/v1/payments"}, "payment logs the trace")
    eventually(lambda: of("order", trace) == {"/v1/orders", "/v1/payment-events"}, "the event carries the trace")
    for service in ("order", "payment"):
        (row,) = talkative.databases.query(
            service, "SELECT DISTINCT headers FROM outbox WHERE headers->>'traceparent' LIKE %s", f"%{trace}%"
        )
        assert row["headers"]["tracestate"] == state
    later = uuid.uuid4().hex
    talkative.order.post(f"{own}/capture", None, traceparent=f"00-{later}-{'c' * 16}-00")
    eventually(lambda: of("order", later) == {"/v1/orders/<uuid:order_id>/capture", "/v1/payment-events"}, "as above")
    eventually(lambda: of("payment", later) == {"/v1/payments/<uuid:payment_id>/capture"}, "as above")


def sent_on(stack: Stack, placed: requests.Response) -> dict[str, str]:
    """The headers of what an order asks of payment."""
    statement = "SELECT headers FROM outbox WHERE aggregate_id = %s"
    headers: dict[str, str] = stack.databases.query("order", statement, placed.json()["id"])[0]["headers"]
    return headers


@pytest.mark.parametrize(
    "trace",
    ["x", f"00-{'A' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", "00-a-b-01"],
)
def test_a_trace_that_is_none_goes_no_further(talkative: Stack, trace: str) -> None:
    placed = talkative.order.post("/v1/orders", ORDER, traceparent=trace, tracestate="a=1")
    assert placed.status_code == 201
    (row,) = talkative.databases.query(
        "order", "SELECT headers FROM outbox WHERE aggregate_id = %s", placed.json()["id"]
    )
    assert set(row["headers"]) == {"X-Request-Id"}
    assert "trace_id" not in logged(talkative, placed.headers["X-Request-Id"])


def test_a_relay_says_which_request_and_trace_its_lines_are_of(talkative: Stack) -> None:
    trace, request_id = uuid.uuid4().hex, str(uuid.uuid4())
    talkative.held.add("payment-web")
    talkative.processes["payment-web"].kill()
    try:
        talkative.order.post("/v1/orders", ORDER, X_Request_Id=request_id, traceparent=f"00-{trace}-{'b' * 16}-01")
        line = logged(talkative, request_id, role="relay")
    finally:
        talkative.held.discard("payment-web")
    assert (line["event"], line["trace_id"]) == ("delivery_failed", trace)


def test_the_state_of_a_trace_is_bounded(talkative: Stack) -> None:
    placed = talkative.order.post(
        "/v1/orders", ORDER, traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate="a=" + "1" * 600
    )
    (row,) = talkative.databases.query(
        "order", "SELECT headers FROM outbox WHERE aggregate_id = %s", placed.json()["id"]
    )
    assert set(row["headers"]) == {"X-Request-Id", "traceparent"}
