from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.http.parsing import MAX_BODY
from chassis.server.request_buffer import MAX_HEAD, MAX_LINE, RequestBuffer, State

GET = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /v1/orders HTTP/1.1", b"Host: x", *lines, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"
COMPLETE = [
    GET,
    b"\r\n" + GET,
    b"GET / HTTP/1.0\r\n\r\n",
    post(b"Content-Length: 2", body=b"{}"),
    post(b"content-LENGTH:\t2  ", body=b"{}"),
    post(b"Content-Length: 0"),
    post(CHUNKED, body=b"0\r\n\r\n"),
    post(b"transfer-encoding:CHUNKED", body=b"2\r\n{}\r\n0\r\n\r\n"),
    post(CHUNKED, body=b'1;a="b"\r\n{\r\n0001 ;c\r\n}\r\n000\r\nTrailer: x\r\n\r\n'),
    post(CHUNKED, body=b"A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    post(b"Expect: 100-continue", b"Content-Length: 2", body=b"{}"),
]
MALFORMED = [
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\n",
    b"\n",
    b"GET /" + b"x" * (MAX_LINE + 10),
    post(b"Content-Length: 2", CHUNKED, body=b"0\r\n\r\n"),
    post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    *(post(b"Content-Length: " + value) for value in (b"-1", b"+2", b"2, 2", b"0x2", b"", b"2 2", b"1" * 30, b"\xb2")),
    *(post(b"Transfer-Encoding: " + value) for value in (b"gzip", b"gzip, chunked", b"xchunked", b"chunked, chunked")),
    *(post(CHUNKED, body=size + b"\r\n{}\r\n0\r\n\r\n") for size in (b"x", b"-2", b"0x2", b"", b"2 2", b"3", b"1")),
    post(CHUNKED, body=b"2\n{}\r\n0\r\n\r\n"),
    post(CHUNKED, body=b"1;" + b"x" * 9000),
    post(CHUNKED, body=b"0\r\nA: b\n\n"),
    post(CHUNKED, body=b"0\r\n" + b"A: b\r\n" * 3000),
]


def feed(data: bytes, size: int) -> RequestBuffer:
    """Feed the bytes to a RequestBuffer in pieces of this size, until it expects no more."""
    request = RequestBuffer()
    for at in range(0, len(data), size):
        if request.feed(data[at : at + size]) is not State.INCOMPLETE:
            break
    return request


@pytest.mark.parametrize("data", COMPLETE)
def test_a_request_is_complete_with_its_last_byte_and_not_before(data: bytes) -> None:
    request = RequestBuffer()
    for at in range(len(data)):
        assert request.state is State.INCOMPLETE, at
        request.feed(data[at : at + 1])
    assert request.state is State.COMPLETE


@given(st.sampled_from(COMPLETE), st.integers(1, 200), st.binary(max_size=20))
def test_a_request_is_complete_in_pieces_of_any_size_and_the_bytes_after_it_are_kept(
    data: bytes, size: int, more: bytes
) -> None:
    request = feed(data + more, size)
    assert request.state is State.COMPLETE
    if b"Expect" not in data:
        assert data + more == bytes(request.data) + (data + more)[len(request.data) :]
        assert len(request.data) >= len(data)


@pytest.mark.parametrize("data", MALFORMED)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_malformed_bytes_are_detected_without_waiting_for_more(data: bytes, size: int) -> None:
    assert feed(data, size).state is State.MALFORMED


@pytest.mark.parametrize("data", [*COMPLETE, *MALFORMED[5:8]])
def test_a_stream_that_ends_too_early_is_a_truncated_request(data: bytes) -> None:
    request = RequestBuffer()
    request.feed(data[:12])
    assert request.feed(b"") is State.TRUNCATED


def test_a_head_over_the_limit_is_too_large() -> None:
    line = b"X-Y: " + b"z" * 4000
    assert feed(post(*[line] * 16), 1000).state is State.COMPLETE
    assert feed(post(*[line] * 17), 1000).state is State.HEAD_TOO_LARGE
    assert feed(post(*[line] * 17), MAX_HEAD * 2).state is State.HEAD_TOO_LARGE


def test_a_head_that_comes_byte_by_byte_is_not_read_again_for_each_byte() -> None:
    read = list[int]()

    class Counted(bytearray):
        def count(self, value: Any, start: Any = 0, *more: Any) -> int:
            read.append(len(self) - start)
            return super().count(value, start, *more)

    request = RequestBuffer()
    request.data = Counted()
    head = post(*[b"X-Y: z"] * 2000)
    for at in range(len(head)):
        request.feed(head[at : at + 1])
    assert request.state is State.COMPLETE
    assert len(head) < sum(read) < 4 * len(head)


def test_a_body_with_too_large_a_length_is_not_received() -> None:
    assert feed(post(b"Content-Length: %d" % MAX_BODY), 100).state is State.INCOMPLETE
    for length in (MAX_BODY + 1, 10**18):
        assert feed(post(b"Content-Length: %d" % length), 100).state is State.TRUNCATED


def test_an_endless_chunked_body_is_buffered_up_to_a_limit() -> None:
    for size in (1024, 65536, 8 * MAX_BODY):
        chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
        endless = post(CHUNKED, body=chunk * (8 * MAX_BODY // size))
        request = feed(endless, 10_000)
        assert request.state is State.TRUNCATED
        assert len(request.data) < MAX_BODY + 50_000
    tiny = feed(post(CHUNKED, body=b"1;xxxxxxx\r\nx\r\n" * MAX_BODY), 10_000)
    assert tiny.state is State.BODY_TOO_LARGE
    assert len(tiny.data) < 4 * MAX_BODY + 50_000


def test_100_continue_is_expected_once_and_removed_from_the_request() -> None:
    request = RequestBuffer()
    request.feed(post(b"EXPECT:100-Continue ", b"Content-Length: 2"))
    assert (request.state, request.expects_continue) == (State.INCOMPLETE, True)
    request.expects_continue = False
    assert request.feed(b"{}") is State.COMPLETE
    assert not request.expects_continue
    assert bytes(request.data) == post(b"Content-Length: 2", body=b"{}")


@pytest.mark.parametrize(
    "data",
    [
        post(b"Expect: 100-continue", b"Content-Length: %d" % (MAX_BODY + 1)),
        post(b"Expect: 100-continue", b"Content-Length: 2", body=b"{}"),
        post(b"Expect: something", b"Content-Length: 2"),
        post(b"Content-Length: 2"),
        post(b"Expect: 100-continue", b"Content-Length: 2").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_100_continue_is_not_expected_where_it_would_be_wrong(data: bytes) -> None:
    request = feed(data, 100_000)
    assert request.state is not State.INCOMPLETE or not request.expects_continue
