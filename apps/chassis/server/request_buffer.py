"""Buffers the bytes of a request and tells when it is complete, before a thread gets it.

A client that sends one byte a minute, or nothing, then occupies a socket and a little memory, but no thread.

This module decides only when to hand a request over. What its bytes mean is decided by gunicorn's parser, which reads
them again and rejects what violates RFC 9112. In case of doubt, this module hands over bytes that the parser rejects.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from chassis.http.parsing import MAX_BODY

MAX_HEAD = 64 * 1024
"""The most bytes of a request line and headers together."""
MAX_LINE = 4094
"""The most bytes of a request line."""
_MAX_CHUNKED = 4 * MAX_BODY  # bytes of a chunked body with its size lines, which are longer than one-byte chunks
_MAX_READ = MAX_BODY + 4096  # no more of a chunked body is ever read: one byte too many, and gunicorn's read-ahead
_MAX_CHUNK_LINE = 8 * 1024  # bytes of a chunk's size line with its extensions, or of all trailers

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,19})[ \t]*\r\n")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class State(Enum):
    """What is known of a request from the bytes received so far."""

    INCOMPLETE = auto()
    COMPLETE = auto()
    TRUNCATED = auto()
    """The stream ended too early, or the body is larger than the application reads. The application responds."""
    MALFORMED = auto()
    """The parser rejects the bytes received so far."""
    HEAD_TOO_LARGE = auto()
    BODY_TOO_LARGE = auto()


class RequestBuffer:
    """The bytes of one request. `data` may end with bytes of the next request (pipelining)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.state = State.INCOMPLETE
        self.expects_continue = False
        """Whether the client waits for `100 Continue` before it sends the body. The caller sends it and resets this."""
        self._body = 0  # where the body begins; 0 until the head is complete
        self._length: int | None = None  # None for a chunked body
        self._chunk = 0  # where the size line of the next chunk begins
        self._decoded = 0  # bytes of the body in the chunks before `_chunk`

    def feed(self, data: bytes) -> State:
        """Append bytes and return the new state. Empty `data` is the end of the stream."""
        self.data += data
        if not data:
            self.state = State.TRUNCATED
        elif self._body or self._find_head(len(data)):
            self.state = self._body_state()
        return self.state

    def _find_head(self, added: int) -> bool:
        """Return whether the body has to be looked at: the head is complete and valid. Otherwise set the state."""
        data = self.data
        end = data.find(b"\r\n\r\n", max(0, len(data) - added - 3))
        if end >= 0:
            self._body = end + 4
            if end > MAX_HEAD:
                self.state = State.HEAD_TOO_LARGE
                return False
            self._read_head(bytes(data[: end + 2]))
            return self.state is State.INCOMPLETE
        new = len(data) - added  # what is before has no bare newline: a head may come byte by byte
        has_bare_newline = data.count(b"\n", new) != data.count(b"\r\n", max(0, new - 1))
        if len(data) > MAX_HEAD:
            self.state = State.HEAD_TOO_LARGE
        elif has_bare_newline or (len(data) > MAX_LINE + 4 and b"\r\n" not in data[2 : MAX_LINE + 4]):
            self.state = State.MALFORMED
        return False

    def _read_head(self, head: bytes) -> None:
        """Read how the body is framed, and the expectation."""
        lower = head.lower()
        lengths, codings = lower.count(b"\r\ncontent-length:"), lower.count(b"\r\ntransfer-encoding:")
        if lengths + codings == 0:
            self._length = 0
        elif lengths + codings > 1:
            self.state = State.MALFORMED
        elif codings == 1:
            self.state = State.INCOMPLETE if _CHUNKED.search(lower) else State.MALFORMED
        else:
            length = _LENGTH.search(lower)
            self._length = int(length[1]) if length else None
            if self._length is None:
                self.state = State.MALFORMED
            elif self._length > MAX_BODY:
                self.state = State.TRUNCATED
        if b"\r\nexpect:" in lower and b" HTTP/1.1\r\n" in head[: MAX_LINE + 13]:
            self._read_expectation(head)
        self._chunk = self._body

    def _read_expectation(self, head: bytes) -> None:
        """Remove `Expect: 100-continue` from the data.

        The event loop sends `100 Continue`; gunicorn's parser would send it from a thread, and wait there for the body.
        """
        rest, found = _EXPECT.subn(b"", head)
        if found:
            self.data[: len(head)] = rest
            self._body -= len(head) - len(rest)
            self.expects_continue = self.state is State.INCOMPLETE

    def _body_state(self) -> State:
        if self._length is not None:
            return State.COMPLETE if len(self.data) - self._body >= self._length else State.INCOMPLETE
        while True:
            end = self.data.find(b"\r\n", self._chunk, self._chunk + _MAX_CHUNK_LINE)
            if end < 0:
                return self._unfinished_line_state()
            size = _SIZE.fullmatch(bytes(self.data[self._chunk : end]))
            if size is None:
                return State.MALFORMED
            length = int(size[1], 16)
            if length == 0:
                return self._trailer_state(end)
            if self._decoded + length > _MAX_READ and len(self.data) - end - 2 + self._decoded > _MAX_READ:
                return State.TRUNCATED
            following = end + 2 + length
            if len(self.data) < following + 2:
                return State.INCOMPLETE
            if self.data[following : following + 2] != b"\r\n":
                return State.MALFORMED
            self._decoded += length
            self._chunk = following + 2
            if self._chunk - self._body > _MAX_CHUNKED:
                return State.BODY_TOO_LARGE

    def _unfinished_line_state(self) -> State:
        """Return the state while a chunk's size line, or the trailers, lack their end."""
        waiting = self.data[self._chunk :]
        if len(waiting) >= _MAX_CHUNK_LINE or waiting.count(b"\n") != waiting.count(b"\r\n"):
            return State.MALFORMED
        return State.INCOMPLETE

    def _trailer_state(self, last: int) -> State:
        """Return the state after the last chunk; its size line ends at `last`."""
        if self.data.find(b"\r\n\r\n", last, last + _MAX_CHUNK_LINE) >= 0:
            return State.COMPLETE
        return self._unfinished_line_state()
