from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.http.parsing import MAX_BODY
from chassis.server.arrivals import MAX_HEAD, MAX_LINE, Arrival, State

GET = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /v1/orders HTTP/1.1", b"Host: x", *lines, b"", b""]) + body


CHUNKED = b"Transfer-Encoding: chunked"
WHOLE = [
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
BROKEN = [
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


def fed(data: bytes, size: int) -> Arrival:
    """What becomes of bytes that come in pieces of this size, until no more are wanted."""
    arrival = Arrival()
    for at in range(0, len(data), size):
        if arrival.feed(data[at : at + size]) is not State.ARRIVING:
            break
    return arrival


@pytest.mark.parametrize("data", WHOLE)
def test_a_request_is_whole_with_its_last_byte_and_not_before(data: bytes) -> None:
    arrival = Arrival()
    for at in range(len(data)):
        assert arrival.state is State.ARRIVING, at
        arrival.feed(data[at : at + 1])
    assert arrival.state is State.WHOLE


@given(st.sampled_from(WHOLE), st.integers(1, 200), st.binary(max_size=20))
def test_however_it_is_cut_a_request_arrives_and_what_follows_it_is_kept(data: bytes, size: int, more: bytes) -> None:
    arrival = fed(data + more, size)
    assert arrival.state is State.WHOLE
    if b"Expect" not in data:
        assert data + more == bytes(arrival.data) + (data + more)[len(arrival.data) :]
        assert len(arrival.data) >= len(data)


@pytest.mark.parametrize("data", BROKEN)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_what_is_no_request_is_broken_before_anything_is_waited_for(data: bytes, size: int) -> None:
    assert fed(data, size).state is State.BROKEN


@pytest.mark.parametrize("data", [*WHOLE, *BROKEN[5:8]])
def test_what_ends_before_its_end_is_cut(data: bytes) -> None:
    arrival = Arrival()
    arrival.feed(data[:12])
    assert arrival.feed(b"") is State.CUT


def test_a_head_may_be_so_large_and_no_larger() -> None:
    line = b"X-Y: " + b"z" * 4000
    assert fed(post(*[line] * 16), 1000).state is State.WHOLE
    assert fed(post(*[line] * 17), 1000).state is State.HEAD_TOO_LARGE
    assert fed(post(*[line] * 17), MAX_HEAD * 2).state is State.HEAD_TOO_LARGE


def test_a_length_that_is_too_large_is_not_waited_for() -> None:
    assert fed(post(b"Content-Length: %d" % MAX_BODY), 100).state is State.ARRIVING
    for length in (MAX_BODY + 1, 10**18):
        assert fed(post(b"Content-Length: %d" % length), 100).state is State.CUT


def test_of_chunks_no_more_is_collected_than_is_ever_read() -> None:
    for size in (1024, 65536, 8 * MAX_BODY):
        chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
        endless = post(CHUNKED, body=chunk * (8 * MAX_BODY // size))
        arrival = fed(endless, 10_000)
        assert arrival.state is State.CUT
        assert len(arrival.data) < MAX_BODY + 50_000
    tiny = fed(post(CHUNKED, body=b"1;xxxxxxx\r\nx\r\n" * MAX_BODY), 10_000)
    assert tiny.state is State.BODY_TOO_LARGE
    assert len(tiny.data) < 4 * MAX_BODY + 50_000


def test_who_waits_to_be_told_to_go_on_is_told_once_and_the_application_never_hears_of_it() -> None:
    arrival = Arrival()
    arrival.feed(post(b"EXPECT:100-Continue ", b"Content-Length: 2"))
    assert (arrival.state, arrival.wants_continue) == (State.ARRIVING, True)
    arrival.wants_continue = False
    assert arrival.feed(b"{}") is State.WHOLE
    assert not arrival.wants_continue
    assert bytes(arrival.data) == post(b"Content-Length: 2", body=b"{}")


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
def test_who_need_not_or_must_not_go_on_is_told_nothing(data: bytes) -> None:
    arrival = fed(data, 100_000)
    assert arrival.state is not State.ARRIVING or not arrival.wants_continue
