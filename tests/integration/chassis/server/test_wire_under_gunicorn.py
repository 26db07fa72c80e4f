"""Chunked, truncated and malformed bodies, sent to the server that runs in production."""

from __future__ import annotations

import json
import uuid
from urllib.parse import urlsplit

import pytest

from tests.support.fixtures.processes import stack
from tests.support.pair import ORDER, Client
from tests.support.raw_http import KIB, chunked, connect, exchange, head, receive, refusal
from tests.support.stack import Stack

__all__ = ["stack"]

PATHS = {"order": "/v1/orders", "payment": "/v1/payments"}
PAYMENT = {"amount": 900, "currency": "EUR", "payment_method": "pm_ok"}


@pytest.fixture(params=["order", "payment"])
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def client(stack: Stack, service: str) -> Client:
    found: Client = getattr(stack, service)
    return found


@pytest.fixture
def path(service: str) -> str:
    return PATHS[service]


@pytest.fixture
def valid(service: str) -> bytes:
    """Return a body that creates a resource."""
    body = ORDER if service == "order" else {**PAYMENT, "order_id": str(uuid.uuid4())}
    return json.dumps(body).encode()


def test_a_chunked_body_is_read_as_a_whole(client: Client, path: str, valid: bytes) -> None:
    for size in (1, 7, 8 * KIB):
        key = str(uuid.uuid4())
        again = [
            exchange(client, head(path, "Transfer-Encoding: chunked", key=key) + chunked(valid, size)),
            exchange(client, head(path, f"Content-Length: {len(valid)}", key=key) + valid),
        ]
        assert again[0][0] in (200, 201), again[0]
        assert again[0][2]["id"] == again[1][2]["id"]
        assert again[1][1]["idempotency-replayed"] == "true"


def test_a_chunked_body_without_chunks_is_empty(client: Client, path: str) -> None:
    status, _, body = exchange(client, head(path, "Transfer-Encoding: chunked") + chunked(b""))
    assert (status, urlsplit(body["type"]).path) == (422, "/problems/validation")


def test_a_chunked_body_of_256_kib_is_read_and_one_byte_more_is_413(client: Client, path: str) -> None:
    largest = b'{"a": "' + b"x" * (256 * KIB - 9) + b'"}'
    head_of = head(path, "Transfer-Encoding: chunked")
    refusal(client, head_of + chunked(largest), 422, "validation")
    refusal(client, head_of + chunked(largest + b" "), 413, "content-too-large")
    refusal(client, head_of + chunked(largest[:-2] + b"x" * 2_000 * KIB + b'"}'), 413, "content-too-large")


def test_the_time_for_a_body_grows_with_its_chunks_and_not_with_their_square(client: Client, path: str) -> None:
    smallest = chunked(b" " * 170_000, 1)  # just below the limit of 1 MiB
    opened = head(path, "Transfer-Encoding: chunked")
    refusal(client, opened + smallest, 400, "malformed-request")  # `exchange` waits for 20 s at most
    unread = opened.replace(b"Authorization: Bearer", b"Authorization: None")
    with connect(client) as connection:  # nobody reads this body before the connection's next request
        connection.sendall(unread + smallest + unread + chunked(b""))
        status, _, _, rest = receive(connection)
        assert (status, receive(connection, rest)[0]) == (401, 401)


def test_a_body_that_is_valid_up_to_256_kib_and_longer_is_413(client: Client, path: str, valid: bytes) -> None:
    padded = valid + b" " * (256 * KIB - len(valid))
    request = head(path, "Transfer-Encoding: chunked") + chunked(padded + b" trailing nonsense")
    refusal(client, request, 413, "content-too-large")


def test_a_length_of_more_than_256_kib_is_413_before_the_body_is_sent(client: Client, path: str) -> None:
    refusal(client, head(path, f"Content-Length: {256 * KIB + 1}"), 413, "content-too-large")
    refusal(client, head(path, f"Content-Length: {10**15}"), 413, "content-too-large")


@pytest.mark.adversarial
@pytest.mark.parametrize("size", [64 * KIB - 1, 64 * KIB, 200 * KIB, 256 * KIB])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_connection_stays_usable_after_a_body_that_nothing_reads(
    client: Client, path: str, valid: bytes, size: int, is_chunked: bool
) -> None:
    """A request without a valid key is refused before its body is read."""
    lines = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".ljust(size, b"x")
    refused = head(path, lines).replace(b"Bearer ", b"Bearer un") + (chunked(body) if is_chunked else body)
    following = head(path, f"Content-Length: {len(valid)}") + valid
    with connect(client) as connection:
        rest = b""
        for _ in range(3):
            connection.sendall(refused + following)
            status, headers, _, rest = receive(connection, rest)
            assert (status, headers["connection"]) == (401, "keep-alive")
            status, _, _, rest = receive(connection, rest)
            assert status in (200, 201)
    assert rest == b""


def test_a_truncated_body_is_400_even_if_it_is_valid_json_so_far(client: Client, path: str, valid: bytes) -> None:
    request = head(path, f"Content-Length: {len(valid) + 1}") + valid
    refusal(client, request, 400, "malformed-request", hang_up=True)
    refusal(client, head(path, "Content-Length: 10"), 400, "malformed-request", hang_up=True)


def test_truncated_chunks_are_400(client: Client, path: str, valid: bytes) -> None:
    opened = head(path, "Transfer-Encoding: chunked")
    for cut in (b"%x\r\n%s\r\n" % (len(valid), valid), b"%x\r\n%s" % (len(valid) + 1, valid), b"5\r\n{"):
        refusal(client, opened + cut, 400, "malformed-request", hang_up=True)


@pytest.mark.parametrize("size", [b"xyz", b"-2", b"0x2", b"", b"2 2", b"1_0", "２".encode(), b"2;\x00"])
def test_a_chunk_with_a_malformed_size_is_400(client: Client, path: str, size: bytes) -> None:
    request = head(path, "Transfer-Encoding: chunked") + size + b"\r\n{}\r\n0\r\n\r\n"
    refusal(client, request, 400, "malformed-request", hang_up=True)
    assert "header" not in exchange(client, request, hang_up=True)[2]["detail"]


def test_a_rejected_request_stores_nothing_and_does_not_take_the_key(
    stack: Stack, client: Client, path: str, service: str, valid: bytes
) -> None:
    key = str(uuid.uuid4())
    refusal(
        client, head(path, f"Content-Length: {len(valid) + 1}", key=key) + valid, 400, "malformed-request", hang_up=True
    )
    assert stack.databases.query(service, "SELECT FROM idempotency_keys WHERE key = %s", key) == []
    status, headers, _ = exchange(client, head(path, f"Content-Length: {len(valid)}", key=key) + valid)
    assert (status, "idempotency-replayed" in headers) == (201, False)


@pytest.mark.parametrize("times", [2, 3])
def test_an_idempotency_key_that_a_proxy_repeats_is_the_same_key(
    stack: Stack, client: Client, path: str, service: str, valid: bytes, times: int
) -> None:
    key = str(uuid.uuid4())
    request = head(path, f"Content-Length: {len(valid)}", key=key) + valid
    line = f"Idempotency-Key: {key}\r\n".encode()
    made, again = exchange(client, request), exchange(client, request.replace(line, line * times))
    assert (made[0], again[0]) == (201, 201), again
    assert made[2]["id"] == again[2]["id"]
    assert again[1]["idempotency-replayed"] == "true"
    assert stack.databases.query(service, "SELECT FROM idempotency_keys WHERE key LIKE %s", f"{key},%") == []


def test_options_of_the_whole_service_is_answered(client: Client) -> None:
    with connect(client) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers, body, _ = receive(connection)
    assert (status, body) == (204, b"")
    assert {"GET", "POST"} <= set(headers["allow"].split(", "))
    assert headers["tandem-version"]


def test_a_request_that_cannot_be_parsed_gets_an_absolute_type_and_the_release(client: Client) -> None:
    with connect(client) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
        status, headers, body, _ = receive(connection)
    assert (status, json.loads(body)["type"]) == (400, f"{client.url}/problems/malformed-request")
    assert headers["tandem-version"]
