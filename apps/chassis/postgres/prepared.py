"""Statements that are prepared once per connection and then executed in one call of libpq.

psycopg waits for a result in Python, and acquires and releases the GIL several times per statement. Here it is released
once, from sending the statement to the last byte of the result. As with psycopg, statement_timeout limits how long a
statement takes, and tcp_user_timeout how long it waits for a server that does not respond.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from psycopg import OperationalError, errors
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

Parameters = Mapping[str, Any] | Sequence[Any]

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|(s)|(%))")


class Prepared:
    """A prepared SELECT, INSERT, UPDATE or DELETE of one connection.

    Parameters are sent without types: the server infers them, or the statement has a cast. The connection refers to its
    statements but not the other way round, so both are freed when the thread ends.
    """

    def __init__(self, pgconn: PGconn, name: str, query: str) -> None:
        """Prepare `query`, with psycopg's placeholders. Raises psycopg.Error."""
        self._name = name.encode()
        text, self._values = _positional(query)
        self._transformer = Transformer()
        _prepare(pgconn, self._name, text.encode())
        self._columns: list[str] = []

    def first(self, pgconn: PGconn, parameters: Parameters) -> dict[str, Any] | None:
        """Execute on the connection and return the first row, or None. Raises psycopg.Error."""
        result = self._execute(pgconn, parameters)
        return self._row(result, 0) if result.ntuples else None

    def all(self, pgconn: PGconn, parameters: Parameters) -> list[dict[str, Any]]:
        """Execute on the connection and return all rows. Raises psycopg.Error."""
        result = self._execute(pgconn, parameters)
        return [self._row(result, number) for number in range(result.ntuples)]

    def _execute(self, pgconn: PGconn, parameters: Parameters) -> PGresult:
        texts = [
            value.encode() if isinstance(value, str) else None if value is None else self._text(value)
            for value in self._values(parameters)
        ]
        result = _check(pgconn, pgconn.exec_prepared(self._name, texts))  # type: ignore[arg-type]
        if result.ntuples:
            self._columns = self._columns or [(result.fname(at) or b"").decode() for at in range(result.nfields)]
            self._transformer.set_pgresult(result)
        return result

    def _row(self, result: PGresult, number: int) -> dict[str, Any]:
        return dict(zip(self._columns, self._transformer.load_row(number, tuple), strict=True))

    def _text(self, value: Any) -> Buffer | None:
        encode = _ENCODERS.get(type(value))
        if encode is not None:
            return encode(value)
        return self._transformer.get_dumper(value, PyFormat.TEXT).dump(value)


def command(pgconn: PGconn, text: bytes) -> PGresult:
    """Execute SQL without parameters. Raises psycopg.Error."""
    return _check(pgconn, pgconn.exec_(text))


def _prepare(pgconn: PGconn, name: bytes, text: bytes) -> None:
    """Prepare a statement by PostgreSQL's protocol, which a pooler such as PgBouncer follows, unlike SQL's PREPARE.

    Not in one call of libpq, because psycopg would hold the GIL until the server has responded. Raises psycopg.Error.
    """
    pgconn.send_prepare(name, text)
    poller = select.poll()
    poller.register(pgconn.socket, select.POLLOUT)
    while pgconn.flush():
        poller.poll()
    poller.register(pgconn.socket, select.POLLIN)
    results = []
    while True:
        while pgconn.is_busy():
            poller.poll()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        results.append(result)
    for result in results:
        _check(pgconn, result)


def _check(pgconn: PGconn, result: PGresult) -> PGresult:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if pgconn.status == ConnStatus.BAD:
        raise OperationalError(result.get_error_message())
    raise errors.error_from_result(result)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    bytes: lambda value: b"\\x" + value.hex().encode(),
    int: lambda value: b"%d" % value,
    bool: lambda value: b"t" if value else b"f",
}


def _positional(query: str) -> tuple[str, Callable[[Any], Sequence[Any]]]:
    """Return the query with numbered placeholders, and a function that puts the parameters in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[3]:
            return "%"
        name = found[1] or str(len(names))
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    text = _PLACEHOLDER.sub(number, query)
    if "%(" not in query:
        return text, lambda parameters: parameters
    if len(names) == 1:
        return text, lambda parameters: (parameters[names[0]],)
    return text, itemgetter(*names)
