"""Spans of statements and transactions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, LiteralString

import psycopg
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from psycopg import Cursor
from psycopg.rows import DictRow

from chassis.postgres.database import Row, Session
from chassis.postgres.prepared import Parameters
from chassis.telemetry.spans import open_span


@contextmanager
def _statement(session: psycopg.Connection[DictRow], query: Any) -> Iterator[None]:
    """Run the block, which executes the statement, in a span if the current span is sampled.

    The parameters are not recorded.
    """
    if not trace.get_current_span().is_recording():
        yield
        return
    text, summary = describe(query)
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": session.info.dbname,
        "db.query.text": text,
        "db.query.summary": summary,
    }
    with open_span(summary, SpanKind.CLIENT, attributes) as span:
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate:
                span.set_attribute("db.response.status_code", error.sqlstate)
            raise


class _TracedCursor(Cursor[DictRow]):
    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> _TracedCursor:
        """Execute a statement in a span. Raises psycopg.Error."""
        with _statement(self.connection, query):
            return super().execute(query, params, **kwargs)


class TracedSession(Session):
    """A connection that opens a span for each statement and for each transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = _TracedCursor

    def one(self, query: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Execute a statement in a span and return its first row, or None. Raises psycopg.Error."""
        with _statement(self, query):
            return super().one(query, parameters)

    def all(self, query: LiteralString, parameters: Parameters = ()) -> list[Row]:
        """Execute a statement in a span and return all of its rows. Raises psycopg.Error."""
        with _statement(self, query):
            return super().all(query, parameters)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Run the block in a transaction and in a span. After the last statement, the span shows the commit."""
        if not trace.get_current_span().is_recording():
            with super().atomic():
                yield
            return
        with open_span("transaction", SpanKind.INTERNAL, {"db.system.name": "postgresql"}), super().atomic():
            yield


_WRITES = re.compile(r"\b(INSERT) INTO ([\w.]+)|\b(UPDATE) (?!SET |SKIP |OF )([\w.]+)|\b(DELETE) FROM ([\w.]+)")
_READS = re.compile(r"\b(SELECT)\b.*?\bFROM ([\w.]+)")


@lru_cache(512)
def describe(query: Any) -> tuple[str, str]:
    """Return a statement in one line, and a summary of what it does to which tables.

    A summary is `SELECT api_keys`, or `INSERT outbox UPDATE inbox` for a statement that writes to two tables.
    """
    text = " ".join((query.decode() if isinstance(query, bytes) else str(query)).split())
    found = _WRITES.findall(text) or _READS.findall(text)[:1]
    words = [word for groups in found for word in groups if word]
    return text, " ".join(words)[:255] or text.partition(" ")[0]
