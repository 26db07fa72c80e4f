"""Requests that two servers could parse differently (request smuggling), and other malformed ones, are rejected."""

from __future__ import annotations

import json
import uuid
from urllib.parse import urlsplit

import pytest

from tests.support.fixtures.processes import stack
from tests.support.pair import ORDER, Client
from tests.support.raw_http import KIB, connect, exchange, head, receive, refusal
from tests.support.settings import KEY
from tests.support.stack import Stack

__all__ = ["stack"]

INNER = b"GET /v1/orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"


def post(*lines: str, body: bytes = b"") -> bytes:
    return head("/v1/orders", *lines) + body


SHAPES = {
    "length and chunks": post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + INNER),
    "chunks and length": post("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + INNER),
    "two lengths": post("Content-Length: 2", "Content-Length: 90", body=b"{}" + INNER),
    "the same length twice": post("Content-Length: 2", "Content-Length: 2", body=b"{}" + INNER),
    "a list of lengths": post("Content-Length: 2, 2", body=b"{}" + INNER),
    "a length with a sign": post("Content-Length: +2", body=b"{}" + INNER),
    "a negative length": post("Content-Length: -2", body=b"{}" + INNER),
    "a hexadecimal length": post("Content-Length: 0x2", body=b"{}" + INNER),
    "a huge length": post("Content-Length: " + "9" * 400, body=b"{}" + INNER),
    "chunked twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + INNER),
    "chunked twice in one": post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + INNER),
    "chunked and more": post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + INNER),
    "chunked after a vertical tab": post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + INNER),
    "a folded line": post("Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n" + INNER),
    "a folded header": post("X-Any: a\r\n b", "Content-Length: 2", body=b"{}" + INNER),
    "a space before the colon": post("Content-Length : 2", body=b"{}" + INNER),
    "a tab before the colon": post("Transfer-Encoding\t: chunked", body=b"0\r\n\r\n" + INNER),
    "a header without a name": post(": 2", body=INNER),
    "a header without a colon": post("Content-Length 2", body=b"{}" + INNER),
    "an underscore": post("Content_Length: 2", body=b"{}" + INNER),
    "another underscore": post("X_Request_Id: 2", body=INNER),
    "SCRIPT_NAME as a header": post("SCRIPT_NAME: /v1", body=INNER),
    "a bare line feed": post("X-Any: a\nContent-Length: 2", body=b"{}" + INNER),
    "a bare carriage return": post("X-Any: a\rContent-Length: 2", body=b"{}" + INNER),
    "a NUL": post("X-Any: a\x00b", body=INNER),
    "no host": post(body=INNER).replace(b"Host: localhost\r\n", b"", 1),
    "two hosts": post("Host: elsewhere", body=INNER),
    "two idempotency keys": post("Idempotency-Key: another", body=INNER),
    "two content types": post("Content-Type: text/plain", body=INNER),
    "chunks of HTTP/1.0": post("Transfer-Encoding: chunked", body=b"0\r\n\r\n" + INNER).replace(b"/1.1", b"/1.0", 1),
    "a chunk that is longer than it says": post("Transfer-Encoding: chunked", body=b"1\r\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk's size without its end": post("Transfer-Encoding: chunked", body=b"2\n{}\r\n0\r\n\r\n" + INNER),
    "a chunk's extension with a line feed": post("Transfer-Encoding: chunked", body=b"2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "a length in the trailers": post("Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "a malformed trailer": post("Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\nnothing\r\n\r\n"),
    "a space in the path": b"GET /v1/orders /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a byte above 127 in the path": b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "HTTP/1.2": b"GET /livez HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "HTTP/1.9": post(body=INNER).replace(b"HTTP/1.1", b"HTTP/1.9", 1),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no method": b" / HTTP/1.1\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("request_", SHAPES.values(), ids=SHAPES)
def test_an_ambiguous_request_is_rejected_and_closes_the_connection(stack: Stack, request_: bytes) -> None:
    with connect(stack.order) as connection:
        connection.sendall(request_)
        status, headers, body, rest = receive(connection)
        problem = json.loads(body)
        assert (status, urlsplit(problem["type"]).path) == (400, "/problems/malformed-request"), problem
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-request-id"] == problem["request_id"]
        assert (rest, connection.recv(KIB)) == (b"", b"")  # the smuggled request gets no response


@pytest.mark.parametrize("coding", ["gzip", "xchunked", "chunk", "identity;q=1"])
def test_unknown_transfer_codings_are_rejected(stack: Stack, coding: str) -> None:
    status, headers, problem = exchange(stack.order, post(f"Transfer-Encoding: {coding}", body=INNER))
    assert (status in (400, 501), headers["connection"]) == (True, "close")
    assert urlsplit(problem["type"]).path in ("/problems/malformed-request", "/problems/not-implemented")
    refusal(stack.order, post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400, "malformed-request")


def test_the_request_line_and_headers_have_limits(stack: Stack) -> None:
    ask = "GET /livez{} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
    for path, lines, status, name in (
        ("", "X-Any: " + "x" * 8000 + "\r\n", 200, None),
        ("", "".join(f"X-{n}: x\r\n" for n in range(99)), 200, None),
        ("/" + "x" * 5000, "", 414, "uri-too-long"),
        ("?" + "x" * 100_000, "", 414, "uri-too-long"),
        ("", "X-Any: " + "x" * 8200 + "\r\n", 431, "headers-too-large"),
        ("", "".join(f"X-{n}: x\r\n" for n in range(100)), 431, "headers-too-large"),
        ("", "".join(f"X-{n}: {'x' * 4000}\r\n" for n in range(40)), 431, "headers-too-large"),
    ):
        status_seen, headers, body = exchange(stack.order, ask.format(path, lines).encode())
        assert (status_seen, urlsplit(body.get("type", "")).path) == (status, f"/problems/{name}" if name else "")
        assert headers["x-request-id"]


def test_an_unknown_expectation_is_rejected(stack: Stack) -> None:
    refusal(stack.order, post("Expect: the unexpected"), 417, "expectation-failed")


def test_a_malformed_request_is_not_quoted(stack: Stack) -> None:
    for line in (f"Authorization : Bearer {KEY}", "X Card: 4111111111111111", "Authorization Bearer secret-of-mine"):
        _, _, problem = exchange(stack.order, post(line))
        assert not any(secret in json.dumps(problem) for secret in (KEY, "4111111111111111", "secret-of-mine"))


def test_chunk_extensions_and_trailers_are_not_part_of_the_body(stack: Stack) -> None:
    data, key = json.dumps(ORDER).encode(), str(uuid.uuid4())
    body = b"5;name=value;x\r\n%s\r\n%x\r\n%s\r\n0;last\r\nX-Trailer: x\r\n\r\n" % (data[:5], len(data) - 5, data[5:])
    opened = head("/v1/orders", "Transfer-Encoding: chunked", "X-Idempotency-Key: other", key=key)
    with connect(stack.order) as connection:
        connection.sendall(opened + body + INNER)
        status, _, first, rest = receive(connection)
        assert status == 201
        status, _, second, _ = receive(connection, rest)
        assert (status, json.loads(second)["data"][0]["id"]) == (200, json.loads(first)["id"])


def test_no_header_overrides_the_method(stack: Stack) -> None:
    order = stack.order.post("/v1/orders", ORDER).json()
    path = f"/v1/orders/{order['id']}"
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert stack.order.get(path, headers={name: "POST"}).status_code == 200
        assert stack.order.request("POST", path, headers={name: "GET"}).status_code == 405
    assert stack.order.request("POST", f"{path}?_method=GET").status_code == 405


@pytest.mark.parametrize(
    "target", ["//v1/orders", "/v1//orders", "///", "/v1/orders/", "/%2fv1/orders", "/v1/orders%00", "/%ff%fe", "/../x"]
)
def test_a_path_has_one_spelling(stack: Stack, target: str) -> None:
    ask = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    refusal(stack.order, ask.encode(), 404, "not-found")


def test_http_1_0_needs_no_host(stack: Stack) -> None:
    assert exchange(stack.order, b"GET /livez HTTP/1.0\r\n\r\n")[0] == 200


def test_the_admin_port_needs_a_host_too(stack: Stack) -> None:
    for port in stack.admin_ports:
        client = Client(f"http://127.0.0.1:{port}")
        refusal(client, b"GET /livez HTTP/1.1\r\n\r\n", 400, "malformed-request")
        for malformed in (
            b"NONSENSE\r\n\r\n",
            b"GET /livez\r\n\r\n",  # HTTP/0.9
            b"GET http://[::1/livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere\r\n\r\n",
            b"POST /operator/sign-in HTTP/1.1\r\nHost: " + b"x" * 64 + b"\r\nContent-Length: 0\r\n\r\n",
            b"GET /operator HTTP/1.1\r\nHost: a..b\r\n\r\n",
        ):
            refusal(client, malformed, 400, "malformed-request")
        refusal(client, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, "uri-too-long")
        assert exchange(client, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200


def test_no_response_has_a_server_header(stack: Stack) -> None:
    addresses = [stack.order.url, stack.payment.url, *(f"http://127.0.0.1:{port}" for port in stack.admin_ports)]
    for address in addresses:
        for path in ("/livez", "/nowhere"):
            assert "Server" not in Client(address).get(path).headers
        for request_ in (b"NONSENSE\r\n\r\n", b"GET /livez HTTP/1.0\r\n\r\n"):
            assert "server" not in exchange(Client(address), request_)[1]
