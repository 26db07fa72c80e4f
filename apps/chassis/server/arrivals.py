"""When a request has arrived: found out from its bytes, before one of the few threads is given to it.

A client that sends a byte a minute, or nothing, then costs a socket and what it has sent, never a thread. This only
says when to go on: what the bytes mean is gunicorn's parser's to say, which reads them again and refuses (RFC 9112)
what is not as it should be. So where this is in doubt, it hands over what the parser is sure to refuse.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from chassis.http.parsing import MAX_BODY

MAX_HEAD = 64 * 1024
MAX_LINE = 4094
_MAX_CHUNKED = 4 * MAX_BODY  # with the sizes between chunks; of one byte each, they are more than the chunks
_ENOUGH = MAX_BODY + 4096  # more is never asked for: a byte too many, and the little that gunicorn reads ahead
_MAX_EDGE = 8 * 1024  # a chunk's size with its extensions, or trailers

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,19})[ \t]*\r\n")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class State(Enum):
    """How far a request has come."""

    ARRIVING = auto()
    WHOLE = auto()
    CUT = auto()
    """It ends before its end, or announces more than is ever read: the application says so."""
    BROKEN = auto()
    """The parser refuses it without reading on."""
    HEAD_TOO_LARGE = auto()
    BODY_TOO_LARGE = auto()


class Arrival:
    """One request, from its first byte on; `data` is what has come, which may be more than the request."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.data = bytearray()
        self.state = State.ARRIVING
        self.wants_continue = False
        """Whether the client waits for `100 Continue` before it sends its body; to be reset when it was told."""
        self._body = 0  # where the body begins, once the head is complete
        self._length: int | None = None
        self._edge = 0  # where the next chunk's size is
        self._decoded = 0

    def feed(self, data: bytes) -> State:
        """Take more bytes; none are the end of the stream."""
        self.data += data
        if not data:
            self.state = State.CUT
        elif self._body or self._head_ends(len(data)):
            self.state = self._of_body()
        return self.state

    def _head_ends(self, news: int) -> bool:
        """Whether the head is complete, or else what can be said of it."""
        data = self.data
        end = data.find(b"\r\n\r\n", max(0, len(data) - news - 3))
        if end >= 0:
            self._body = end + 4
            if end > MAX_HEAD:
                self.state = State.HEAD_TOO_LARGE
                return False
            self._read_head(bytes(data[: end + 2]))
            return self.state is State.ARRIVING
        bare = data.count(b"\n") != data.count(b"\r\n")
        if len(data) > MAX_HEAD:
            self.state = State.HEAD_TOO_LARGE
        elif bare or (len(data) > MAX_LINE + 4 and b"\r\n" not in data[2 : MAX_LINE + 4]):
            self.state = State.BROKEN
        return False

    def _read_head(self, head: bytes) -> None:
        lower = head.lower()
        lengths, codings = lower.count(b"\r\ncontent-length:"), lower.count(b"\r\ntransfer-encoding:")
        if lengths + codings == 0:
            self._length = 0
        elif lengths + codings > 1:
            self.state = State.BROKEN
        elif codings == 1:
            self.state = State.ARRIVING if _CHUNKED.search(lower) else State.BROKEN
        else:
            length = _LENGTH.search(lower)
            self._length = int(length[1]) if length else None
            if self._length is None:
                self.state = State.BROKEN
            elif self._length > MAX_BODY:
                self.state = State.CUT
        if b"\r\nexpect:" in lower and b" HTTP/1.1\r\n" in head[: MAX_LINE + 13]:
            self._read_expectation(head)
        self._edge = self._body

    def _read_expectation(self, head: bytes) -> None:
        """Take `Expect: 100-continue` out: it is met here, for no thread waits for the body."""
        met, times = _EXPECT.subn(b"", head)
        if times:
            self.data[: len(head)] = met
            self._body -= len(head) - len(met)
            self.wants_continue = self.state is State.ARRIVING

    def _of_body(self) -> State:
        if self._length is not None:
            return State.WHOLE if len(self.data) - self._body >= self._length else State.ARRIVING
        while True:
            end = self.data.find(b"\r\n", self._edge, self._edge + _MAX_EDGE)
            if end < 0:
                return self._at_edge()
            size = _SIZE.fullmatch(bytes(self.data[self._edge : end]))
            if size is None:
                return State.BROKEN
            length = int(size[1], 16)
            if length == 0:
                return self._of_trailers(end)
            if self._decoded + length > _ENOUGH and len(self.data) - end - 2 + self._decoded > _ENOUGH:
                return State.CUT
            following = end + 2 + length
            if len(self.data) < following + 2:
                return State.ARRIVING
            if self.data[following : following + 2] != b"\r\n":
                return State.BROKEN
            self._decoded += length
            self._edge = following + 2
            if self._edge - self._body > _MAX_CHUNKED:
                return State.BODY_TOO_LARGE

    def _at_edge(self) -> State:
        """Neither a chunk's size nor the end of the trailers is complete."""
        waiting = self.data[self._edge :]
        if len(waiting) >= _MAX_EDGE or waiting.count(b"\n") != waiting.count(b"\r\n"):
            return State.BROKEN
        return State.ARRIVING

    def _of_trailers(self, last: int) -> State:
        """What follows the last chunk, whose size ends at `last`."""
        if self.data.find(b"\r\n\r\n", last, last + _MAX_EDGE) >= 0:
            return State.WHOLE
        return self._at_edge()
