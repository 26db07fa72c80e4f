"""Statements that are prepared once for a connection and then sent in one call of libpq.

psycopg waits for an answer in Python, which takes and leaves the interpreter's lock several times a statement; here
it is left once, from sending to the last byte of the answer. How long a statement may take is the server's to say
(statement_timeout), and for a server that is gone the socket's (tcp_user_timeout), as they are for psycopg.
"""

from __future__ import annotations

import re
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
    """One SELECT, INSERT, UPDATE or DELETE on one connection.

    Its parameters have no types: the server infers them, or a cast says them.
    It does not hold the connection, which holds it: a thread that ends would leave both behind.
    """

    def __init__(self, pgconn: PGconn, name: str, query: str) -> None:
        """Prepare it, with placeholders as psycopg has them. Raises psycopg.Error."""
        self._name = name.encode()
        text, self._values = _positional(query)
        self._transformer = Transformer()
        # Said in SQL: psycopg keeps the interpreter's lock while libpq prepares and describes, however long that takes.
        command(pgconn, f"PREPARE {name} AS {text}".encode())
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
            value.encode() if type(value) is str else None if value is None else self._text(value)
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
    """Say something that has no parameters. Raises psycopg.Error."""
    return _check(pgconn, pgconn.exec_(text))


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
    """The query with numbered placeholders, and what takes their values from the parameters, in that order."""
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
