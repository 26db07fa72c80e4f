"""Logs of real processes: one JSON object per line, without secrets and card numbers."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.eventually import eventually
from tests.support.fixtures.processes import stack
from tests.support.pair import ORDER, Client
from tests.support.raw_http import exchange, head
from tests.support.settings import INTERNAL_KEY, KEY, OTHER_KEY, SECRET
from tests.support.stack import Stack

__all__ = ["stack"]

CARD = "4111111111111111"


@pytest.fixture(scope="module")
def logging_stack(stack: Stack) -> Stack:
    """Return the stack, restarted with the log level of production."""
    for process in stack.processes.values():
        process.env = {**process.env, "LOG_LEVEL": "info"}
        process.starts = 0
        process.kill()
    for client in (stack.order, stack.payment):
        eventually(lambda client=client: _serves(client), "the service is ready", 60)  # type: ignore[misc]
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
    """Wait for the line about the request with this id."""

    def look() -> dict[str, Any] | None:
        everything = lines(stack.folder / f"{service}-{role}.log")
        return next((one for one in everything if one.get("request_id") == request_id), None)

    return eventually(look, "the request is logged") or {}


@pytest.mark.parametrize(
    "text", ["\n", "\r\n", "\x1b[2J", "\x00", "\u2028", '"}\n{"event": "forged"}', "\x85", "\ud800", "\u202e"]
)
def test_a_request_is_one_line_whatever_its_path_contains(logging_stack: Stack, text: str) -> None:
    before = len(lines(logging_stack.folder / "order-web.log"))
    response = logging_stack.order.get("/" + quote(text.encode(errors="surrogatepass")))
    assert response.status_code == 404
    line = logged(logging_stack, response.headers["X-Request-Id"])
    assert (line["event"], line["route"], line["status"]) == ("request", "unmatched", 404)
    after = lines(logging_stack.folder / "order-web.log")[before:]
    assert not any(one["event"] == "forged" for one in after)


def test_a_malformed_request_is_logged_without_its_content(logging_stack: Stack) -> None:
    request = head("/v1/orders", f"Authorization : Bearer {KEY}\x1b[2J", f"X_Y: {CARD}")
    _, headers, _ = exchange(logging_stack.order, request)
    line = logged(logging_stack, headers["x-request-id"])
    assert (line["route"], line["status"], line["problem"]) == ("unread", 400, "malformed-request")


def test_keys_and_secrets_are_never_logged(logging_stack: Stack) -> None:
    logging_stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
    Client(logging_stack.order.url, "tdm_nobodys_key").get("/v1/orders")
    for scheme in ("Basic", "Bearer", "bearer Bearer"):
        logging_stack.order.get("/v1/orders", headers={"Authorization": f"{scheme} tdm_mistaken"})
    last = logging_stack.order.get("/v1/orders", headers={"X-Request-Id": "secrets"})
    assert last.status_code == 200
    logged(logging_stack, "secrets")
    for path in logging_stack.folder.glob("*.log"):
        text = path.read_text()
        for secret in (KEY, OTHER_KEY, INTERNAL_KEY, SECRET, "tdm_nobodys_key", "tdm_mistaken", "postgresql://"):
            assert secret not in text, path.name


def test_no_notation_of_a_card_number_reaches_a_log_or_a_table(logging_stack: Stack) -> None:
    number, trace = "4539578763621486", f"00-{'a' * 32}-{'b' * 16}-01"
    written = [number, "4539.5787.6362.1486", f"CC{number}", f"{number}a", f"%B{number}^DOE/J^2912101"]
    for text in written:
        logging_stack.order.post("/v1/orders", {**ORDER, "metadata": {"a": text}})
        logging_stack.order.get(f"/{quote(text)}")
        logging_stack.order.post("/v1/orders", ORDER, X_Request_Id=text)
        last = logging_stack.order.post("/v1/orders", ORDER, traceparent=trace, tracestate=f"a={text.replace('=', '')}")
    logging_stack.order.get(f"/{quote(chr(0xFF14))}539578763621486")
    logged(logging_stack, last.headers["X-Request-Id"])
    for path in logging_stack.folder.glob("*.log"):
        text = path.read_text()
        assert not any(each in text for each in ("57876362", "5787.6362", "39578763621486")), path.name
    stored = logging_stack.databases.query("order", "SELECT headers::text || payload::text AS text FROM outbox")
    assert not any(each in row["text"] for row in stored for each in ("57876362", "5787.6362"))


def test_card_numbers_are_rejected_and_masked_everywhere(logging_stack: Stack) -> None:
    order = logging_stack.order
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
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (422, "/problems/card-number"), answer.text
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
    logged(logging_stack, others[-1].headers["X-Request-Id"])
    spellings = (CARD, "4111-1111-1111-1111", "4111 1111 1111 1111")
    for answer in (*refused, *others):
        assert not any(spelling in answer.text + str(answer.headers) for spelling in spellings), answer.text
    for path in logging_stack.folder.glob("*.log"):
        assert not any(spelling in path.read_text() for spelling in spellings), path.name
    stored = logging_stack.databases.query("order", "SELECT headers::text AS text FROM outbox")
    assert not any(CARD in row["text"] for row in stored)


@pytest.mark.parametrize(
    ("breaking", "repairing"),
    [
        (
            "ALTER TABLE orders ALTER COLUMN customer TYPE int USING 0",
            "ALTER TABLE orders ALTER COLUMN customer TYPE text",
        ),
        (
            "ALTER TABLE orders ADD CONSTRAINT broken CHECK (total_amount < 0) NOT VALID",
            "ALTER TABLE orders DROP CONSTRAINT broken",
        ),
    ],
    ids=["a column of another type", "an unexpected constraint"],
)
def test_an_error_reveals_no_internals(logging_stack: Stack, breaking: str, repairing: str) -> None:
    logging_stack.databases.query("order", breaking)
    try:
        answer = logging_stack.order.post("/v1/orders", ORDER)
        assert (answer.status_code, urlsplit(answer.json()["type"]).path) == (500, "/problems/internal-error")
        assert answer.headers["Content-Type"] == "application/problem+json"
        for internal in ("psycopg", "Traceback", "orders", "INSERT", "constraint", "jsonb", ".py"):
            assert internal not in answer.text.replace("/v1/orders", "")
        line = logged(logging_stack, answer.headers["X-Request-Id"])
        assert (line["event"], line["level"]) == ("unexpected", "error")
        assert "Traceback" in line["exception"]
    finally:
        logging_stack.databases.query("order", repairing)
    assert logging_stack.order.post("/v1/orders", ORDER).status_code == 201


def test_a_missing_column_is_503_and_reveals_no_internals(logging_stack: Stack) -> None:
    logging_stack.databases.query("payment", "ALTER TABLE payments RENAME COLUMN capture TO gone")
    try:
        answer = logging_stack.payment.get("/v1/payments")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert not any(internal in answer.text for internal in ("capture", "column", "psycopg", "SELECT"))
    finally:
        logging_stack.databases.query("payment", "ALTER TABLE payments RENAME COLUMN gone TO capture")
    assert logging_stack.payment.get("/v1/payments").status_code == 200


def test_a_trace_is_propagated_to_payment_and_back(logging_stack: Stack) -> None:
    trace, state = uuid.uuid4().hex, "vendor=opaque,other=1"
    placed = logging_stack.order.post(
        "/v1/orders",
        # The executor settles this payment, so order hears of it by an event.
        {**ORDER, "capture": "manual", "payment_method": "pm_timeout_charged"},
        traceparent=f"00-{trace}-{'b' * 16}-01",
        tracestate=state,
    )
    own = f"/v1/orders/{placed.json()['id']}"
    eventually(lambda: logging_stack.order.get(own).json()["status"] == "authorized", "the order is authorized")

    def of(service: str, trace: str) -> set[str]:
        everything = lines(logging_stack.folder / f"{service}-web.log")
        return {one["route"] for one in everything if one.get("trace_id") == trace and one["event"] == "request"}

    eventually(lambda: of("payment", trace) == {"/v1/commands"}, "payment logs the trace")
    eventually(lambda: of("order", trace) == {"/v1/orders", "/v1/payment-events"}, "the event carries the trace")
    for service in ("order", "payment"):
        (row,) = logging_stack.databases.query(
            service, "SELECT DISTINCT headers FROM outbox WHERE headers->>'traceparent' LIKE %s", f"%{trace}%"
        )
        assert row["headers"]["tracestate"] == state
    later = uuid.uuid4().hex
    logging_stack.order.post(f"{own}/capture", None, traceparent=f"00-{later}-{'c' * 16}-00")
    eventually(
        lambda: of("order", later) == {"/v1/orders/<uuid:order_id>/capture", "/v1/payment-events"},
        "the capture has its own trace",
    )
    eventually(lambda: of("payment", later) == {"/v1/commands"}, "the capture has its own trace")


@pytest.mark.parametrize(
    "trace",
    ["x", f"00-{'A' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", "00-a-b-01"],
)
def test_an_invalid_trace_is_not_propagated(logging_stack: Stack, trace: str) -> None:
    placed = logging_stack.order.post("/v1/orders", ORDER, traceparent=trace, tracestate="a=1")
    assert placed.status_code == 201
    (row,) = logging_stack.databases.query(
        "order", "SELECT headers FROM outbox WHERE aggregate_id = %s", placed.json()["id"]
    )
    assert set(row["headers"]) == {"X-Request-Id"}
    assert "trace_id" not in logged(logging_stack, placed.headers["X-Request-Id"])


def test_a_relay_logs_the_request_and_trace_ids(logging_stack: Stack) -> None:
    trace, request_id = uuid.uuid4().hex, str(uuid.uuid4())
    logging_stack.held.add("payment-web")
    logging_stack.processes["payment-web"].kill()
    try:
        logging_stack.order.post("/v1/orders", ORDER, X_Request_Id=request_id, traceparent=f"00-{trace}-{'b' * 16}-01")
        line = logged(logging_stack, request_id, role="relay")
    finally:
        logging_stack.held.discard("payment-web")
    assert (line["event"], line["trace_id"]) == ("delivery_failed", trace)


def test_a_trace_state_is_propagated_up_to_a_limit(logging_stack: Stack) -> None:
    placed = logging_stack.order.post(
        "/v1/orders", ORDER, traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate="a=" + "1" * 600
    )
    (row,) = logging_stack.databases.query(
        "order", "SELECT headers FROM outbox WHERE aggregate_id = %s", placed.json()["id"]
    )
    assert set(row["headers"]) == {"X-Request-Id", "traceparent"}
