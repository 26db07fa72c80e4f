"""Which failures are retried, with which key, for how long, and which exception is raised at the end."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from tandem_client import (
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    TandemError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    retry,
)
from tests.unit.client import socket_server
from tests.unit.client.conftest import KEY, ORDER, ORDER_URL, ORDERS, PAYMENT_URL, place, sent


def problem(service: responses.RequestsMock, status: int, name: str, method: str = "POST", **headers: str) -> None:
    """Add this problem as the next response."""
    body = {"type": f"/problems/{name}", "title": name, "status": status, "detail": "As the test says."}
    service.add(
        method, ORDERS if method == "POST" else f"{ORDERS}/1", json=body, status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        content_type="application/problem+json",
    )  # fmt: skip


TEMPORARY = [(429, "rate-limited"), (502, "x"), (503, "unavailable"), (504, "x"), (409, "idempotency-key-in-use")]
FINAL = [
    (400, "malformed-request", TandemError),
    (401, "unauthorized", Unauthorized),
    (403, "forbidden", Forbidden),
    (404, "order-not-found", NotFound),
    (409, "order-state", Conflict),
    (422, "validation", Invalid),
    (422, "idempotency-key-reused", Invalid),
    (500, "internal-error", ServerError),
]


@pytest.mark.parametrize(("status", "name"), TEMPORARY)
def test_a_temporary_failure_is_retried_with_the_same_key_and_body(
    client: Client, service: responses.RequestsMock, status: int, name: str
) -> None:
    for _ in range(3):
        problem(service, status, name)
    service.post(ORDERS, json=ORDER, status=201)
    assert place(client).id == ORDER["id"]
    assert len(set(sent(service, "Idempotency-Key"))) == len(set(sent(service, "X-Request-Id"))) == 1
    assert len({call.request.body for call in service.calls}) == 1
    assert len(service.calls) == 4


@pytest.mark.parametrize("error", [requests.ConnectionError("cut"), requests.ReadTimeout(), requests.ConnectTimeout()])
def test_a_failed_connection_is_retried(client: Client, service: responses.RequestsMock, error: Exception) -> None:
    service.post(ORDERS, body=error)
    service.post(ORDERS, json=ORDER, status=201)
    assert place(client).id == ORDER["id"]
    assert len(set(sent(service, "Idempotency-Key"))) == 1


@pytest.mark.parametrize(("status", "name", "kind"), FINAL)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_refusal_is_not_retried(
    client: Client, service: responses.RequestsMock, method: str, status: int, name: str, kind: type[TandemError]
) -> None:
    problem(service, status, name, method)
    with pytest.raises(kind) as caught:
        place(client) if method == "POST" else client.get_order("1")
    assert len(service.calls) == 1
    assert caught.value.idempotency_key == sent(service, "Idempotency-Key")[0]


def test_a_get_is_retried_without_an_idempotency_key(client: Client, service: responses.RequestsMock) -> None:
    problem(service, 503, "unavailable", "GET")
    service.get(f"{ORDERS}/1", body=requests.ConnectionError("cut"))
    service.get(f"{ORDERS}/1", json=ORDER)
    assert client.get_order("1").status == "paid"
    assert sent(service, "Idempotency-Key") == [None] * 3


def test_each_call_has_its_own_key_unless_one_is_passed(client: Client, service: responses.RequestsMock) -> None:
    for _ in range(3):
        service.post(ORDERS, json=ORDER, status=201)
    orders = [place(client), place(client), place(client, idempotency_key="mine")]
    keys = sent(service, "Idempotency-Key")
    assert len(set(keys)) == 3
    assert keys[2] == "mine"
    assert [order.answer.idempotency_key for order in orders] == keys


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "ü", "x" * 256])
def test_an_idempotency_key_that_cannot_be_sent_raises(client: Client, key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        place(client, idempotency_key=key)


def test_a_request_that_cannot_be_built_raises_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://[not an address")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ValueError):  # noqa: PT011 - the message is of requests or urllib3
        place(client)


def test_the_client_waits_as_long_as_retry_after_asks(client: Client, service: responses.RequestsMock) -> None:
    problem(service, 503, "unavailable", Retry_After="1")
    service.post(ORDERS, json=ORDER, status=201)
    began = time.monotonic()
    place(client)
    assert time.monotonic() - began >= 1


def test_the_client_does_not_wait_for_a_retry_after_beyond_the_deadline(
    client: Client, service: responses.RequestsMock
) -> None:
    problem(service, 429, "rate-limited", Retry_After="3600")
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        place(client)
    assert time.monotonic() - began < 5
    assert caught.value.retry_after == 3600


def test_a_429_after_a_lost_response_leaves_the_outcome_unknown(
    client: Client, service: responses.RequestsMock
) -> None:
    service.post(ORDERS, body=requests.ConnectionError("cut"))
    problem(service, 429, "rate-limited", Retry_After="3600")
    with pytest.raises(OutcomeUnknown):
        place(client)


@pytest.mark.parametrize(("status", "name"), [(401, "unauthorized"), (403, "forbidden"), (500, "internal-error")])
def test_an_inconclusive_refusal_after_a_lost_response_leaves_the_outcome_unknown(
    client: Client, service: responses.RequestsMock, status: int, name: str
) -> None:
    service.post(ORDERS, body=requests.ConnectionError("cut"))
    problem(service, status, name)
    with pytest.raises(OutcomeUnknown, match=name) as caught:
        place(client)
    assert (caught.value.attempts, caught.value.idempotency_key) == (2, sent(service, "Idempotency-Key")[0])


def test_a_refusal_by_a_proxy_after_a_lost_response_leaves_the_outcome_unknown(
    client: Client, service: responses.RequestsMock
) -> None:
    service.post(ORDERS, body=requests.ConnectionError("cut"))
    service.post(ORDERS, body="<h1>Not found</h1>", status=404)
    with pytest.raises(OutcomeUnknown):
        place(client)


def test_a_refusal_by_the_service_after_a_lost_response_is_final(
    client: Client, service: responses.RequestsMock
) -> None:
    service.post(ORDERS, body=requests.ConnectionError("cut"))
    problem(service, 422, "validation")
    with pytest.raises(Invalid):
        place(client)


def test_after_the_deadline_the_outcome_is_unknown_and_the_exception_has_the_key(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def hang(_: object, __: bytes) -> None:
        ended.wait(20)

    caplog.set_level(logging.DEBUG)
    ended = threading.Event()
    with socket_server.serve(hang) as (url, connections):
        impatient = Client(url, api_key=KEY, timeout=0.2, deadline=2)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown) as caught:
            place(impatient)
        took = time.monotonic() - began
        ended.set()
    error = caught.value
    assert 1.5 < took < 10
    assert error.attempts >= len(connections) >= 2
    assert error.idempotency_key is not None
    assert all(error.idempotency_key.encode() in head for head in connections)
    assert all((error.request_id or "?").encode() in head for head in connections)
    assert error.idempotency_key in str(error)
    assert "This is not a failure" in str(error)
    assert all(KEY not in text for text in (str(error), repr(error), repr(impatient), caplog.text))
    assert "did not respond (ReadTimeout), retry in" in caplog.text


def test_a_get_without_a_response_raises_unavailable(client: Client) -> None:
    def cut(connection: socket.socket, _: bytes) -> None:
        connection.close()

    with socket_server.serve(cut) as (url, _), pytest.raises(Unavailable) as caught:
        Client(url, api_key=KEY, deadline=0.3).get_order("1")
    assert caught.value.idempotency_key is None


def test_a_post_that_reaches_no_server_raises_unavailable_with_its_key() -> None:
    with socket_server.serve(lambda *_: None) as (url, _):
        pass
    with pytest.raises(Unavailable, match="This call changed nothing") as caught:
        place(Client(url, api_key=KEY, deadline=0.3), idempotency_key="mine")
    assert caught.value.idempotency_key == "mine"


def test_an_untrusted_certificate_raises_at_once(client: Client, service: responses.RequestsMock) -> None:
    reason = urllib3.exceptions.SSLError(ssl.SSLCertVerificationError(1, "self-signed certificate"))
    pool = urllib3.HTTPSConnectionPool("order.test")
    service.post(ORDERS, body=requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(pool, "/", reason)))
    with pytest.raises(Unavailable, match="no trusted certificate"):
        place(client)
    assert len(service.calls) == 1


def test_a_response_sent_very_slowly_is_cut_off() -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n")
        for _drop in range(1000):
            connection.sendall(b" ")
            time.sleep(0.05)

    with socket_server.serve(drip) as (url, _):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            place(Client(url, api_key=KEY, timeout=0.5, deadline=1))
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("chunked", [False, True])
def test_an_incomplete_response_is_retried(chunked: bool) -> None:
    body = json.dumps(ORDER).encode()
    whole = socket_server.json_response(body, "201 Created")
    cut = whole[:-1]
    if chunked:
        head = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)
        cut = head + body + b"\r\n"
    remaining = [cut, cut, whole]

    def respond(connection: socket.socket, _: bytes) -> None:
        response = remaining.pop(0)
        connection.sendall(response)
        if response is cut:
            connection.close()

    with socket_server.serve(respond) as (url, connections):
        assert place(Client(url, api_key=KEY)).id == ORDER["id"]
    assert len(connections) == 3


@pytest.mark.parametrize("body", ["<html>Welcome to this hotel</html>", "", "[]", "null"])
def test_a_success_without_a_json_object_leaves_the_outcome_of_a_post_unknown(
    client: Client, service: responses.RequestsMock, body: str
) -> None:
    service.post(ORDERS, body=body, status=200)
    with pytest.raises(OutcomeUnknown):
        place(client)
    service.get(f"{ORDERS}/1", body=body, status=200)
    with pytest.raises(UnexpectedAnswer):
        client.get_order("1")


def test_redirects_are_not_followed(client: Client, service: responses.RequestsMock) -> None:
    service.post(ORDERS, status=307, headers={"Location": "http://elsewhere.test/v1/orders"})
    with pytest.raises(UnexpectedAnswer, match="elsewhere"):
        place(client)
    assert len(service.calls) == 1


def test_the_preferred_wait_stays_within_the_deadline(client: Client, service: responses.RequestsMock) -> None:
    for _ in range(4):
        service.post(ORDERS, json=ORDER, status=201)
    place(client)
    place(client, wait=2)
    place(client, wait=8)
    place(client.with_options(deadline=60), wait=20)
    assert sent(service, "Prefer") == [None, "wait=2", "wait=3", "wait=10"]


def test_if_match_sends_the_version(client: Client, service: responses.RequestsMock) -> None:
    service.post(f"{ORDERS}/1/cancel", json=ORDER)
    service.post(f"{PAYMENT_URL}/v1/payments/2/void", json={"type": "/problems/x", "title": "changed"}, status=412)
    client.cancel("1", if_match=7)
    with pytest.raises(TandemError) as caught:
        client.void_payment("2", if_match=0)
    assert type(caught.value).__name__ == "PreconditionFailed"
    assert sent(service, "If-Match") == ['"7"', '"0"']


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e6))
def test_pauses_are_bounded_and_at_least_as_long_as_retry_after(attempt: int, retry_after: float | None) -> None:
    pause = retry.pause(attempt, retry_after)
    assert (retry_after or 0) <= pause <= (retry_after or 0) + retry.LONGEST_PAUSE


def test_pauses_grow_and_vary() -> None:
    assert max(retry.pause(1) for _ in range(200)) <= retry.FIRST_PAUSE
    late = [retry.pause(10) for _ in range(200)]
    assert max(late) > retry.LONGEST_PAUSE / 2
    assert min(late) < retry.LONGEST_PAUSE / 2
    assert len(set(late)) > 100


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0),
        (" 7 ", 7),
        ("9" * 5000, 999999999),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        ("Fri, 02 Jan 2026 03:04:15 -0000", 10),
        ("Fri, 99 Jan 2026 03:04:15 GMT", None),
        ("Fri, 02 Jan 2026 03:04:15 +" + "9" * 20, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry.parse_retry_after(header, NOW) == seconds


def test_a_404_for_a_retried_delete_means_that_the_first_attempt_deleted_it(
    client: Client, service: responses.RequestsMock
) -> None:
    url = f"{ORDER_URL}/v1/webhook-endpoints/1"
    gone = {"type": "/problems/webhook-endpoint-not-found", "title": "No", "status": 404, "detail": "No."}
    service.delete(url, body=requests.ConnectionError("cut"))
    service.delete(url, json=gone, status=404)
    client.delete_webhook_endpoint("1")
    service.delete(url, json=gone, status=404)
    with pytest.raises(NotFound):
        client.delete_webhook_endpoint("1")
    service.delete(url, body=requests.ConnectionError("cut"))
    service.delete(url, body="no such page", status=404)  # from a proxy, not from the service
    with pytest.raises(NotFound):
        client.delete_webhook_endpoint("1")
