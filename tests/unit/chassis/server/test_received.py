"""What the event loop has received reaches gunicorn's parser completely, in order and in small pieces."""

from __future__ import annotations

import socket

from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from chassis.server.received import Received

PIECE = 8192
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_the_pieces_are_no_larger_than_those_of_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = bytes(range(256)) * 1000
        received, pieces = Received(ours, data), list[bytes]()
        while sum(map(len, pieces)) < len(data):
            pieces.append(received.read())
        assert max(map(len, pieces)) <= PIECE  # gunicorn copies the rest of a piece for each chunk of a body
        assert b"".join(pieces) == data
        theirs.sendall(b"more")
        assert received.read() == b"more"


def test_what_follows_a_request_is_kept_for_the_next_one() -> None:
    ours, theirs = socket.socketpair()
    following = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    with ours, theirs:
        parser = RequestParser(Config(), ours, ("127.0.0.1", 1))
        parser.unreader = Received(ours, HEAD + b"1\r\n \r\n" * 5000 + b"0\r\n\r\n" + following)
        next(parser)
        assert parser.finish_body()
        assert parser.unreader.take_buffered() == following
        assert parser.unreader.take_buffered() == b""
