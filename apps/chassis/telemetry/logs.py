"""JSON logs on standard output: one line per request, and one per event in the background."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _text
from typing import Any, TextIO, cast

import structlog
from flask import g, has_request_context

from chassis import cards

_request: ContextVar[Mapping[str, str]] = ContextVar("request", default={})  # noqa: B039


def _mask_cards(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _masked(value)
    return event


def _masked(value: Any) -> Any:
    """Return a value with all card numbers in it masked: in texts, in large integers, and in their collections."""
    if isinstance(value, str):
        return cards.mask(value)
    if isinstance(value, int) and abs(value) >= 10**12:
        text = str(value)
        masked = cards.mask(text)
        return value if masked == text else masked
    if isinstance(value, dict):
        return {_masked(name): _masked(member) for name, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(each) for each in value]
    return value


def _shorten_exceptions(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # An exception becomes one line. It is masked before it is cut: a part of a card number would not be found.
    error = event.pop("error", None)
    if isinstance(error, BaseException):
        event["error"] = cards.masked_start(f"{type(error).__name__}: {error}".replace("\n", " "), 500)
    elif error is not None:
        event["error"] = error
    return event


def _add_request(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if has_request_context() and "request_id" in g:
        event["request_id"] = g.request_id
        if g.get("trace_id") is not None:
            event["trace_id"] = g.trace_id
    else:
        event.update(_request.get())
    return event


@contextmanager
def request_context(headers: Mapping[str, str] | None) -> Iterator[None]:
    """Add the request id and the trace id of these headers to each line that the block logs in this thread.

    `headers` are those of `chassis.service.propagated_headers`.
    """
    known = headers or {}
    ids = {"request_id": known.get("X-Request-Id"), "trace_id": known.get("traceparent", "")[3:35]}
    token = _request.set({name: value for name, value in ids.items() if value})
    try:
        yield
    finally:
        _request.reset(token)


class Output:
    """Standard output, if it can be written to: a log file on a full disk must not fail the request that is logged."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None if the process was started with its standard output closed."""
        self._stream = stream

    def write(self, text: str) -> None:
        """Write text, or lose it."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.flush()


def _output() -> TextIO:
    return cast(TextIO, Output(sys.stdout))


def configure(service: str, level: str = "info") -> None:
    """Make structlog and the standard library's logging print JSON lines with the name of the service."""

    def add_service(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[Any] = [
        add_service,
        _add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _shorten_exceptions,
        structlog.processors.format_exc_info,
        _mask_cards,
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(sort_keys=False)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=_output()),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_output())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class RequestLog:
    """Logs each request in the same format as structlog, at a fifth of its cost."""

    def __init__(self, service: str, level: str) -> None:
        """`level` is the log level of the service; above `info`, requests are not logged."""
        self._service = service
        self._enabled = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
        self._write = structlog.WriteLogger(_output()).msg

    def write(self, context: Any, method: str, route: str, path: str, status: int, seconds: float) -> None:
        """Log one request. `context` is its `flask.g`. Card numbers in `path` are masked."""
        if not self._enabled:
            return
        merchant, key, trace = context.get("merchant"), context.get("key"), context.trace_id
        path = cards.masked_path(path)
        self._write(
            f'{{"method": "{method}", "route": {_text(route)}, "path": {_text(path)}, "status": {status},'
            f' "ms": {seconds * 1000:.2f}, "merchant": {_text_or_null(merchant)}, "key": {_text_or_null(key)},'
            f' "event": "request", "service": "{self._service}", "request_id": {_text(context.request_id)},'
            f'{f""" "trace_id": "{trace}",""" if trace else ""} "level": "info",'
            f' "timestamp": "{datetime.now(UTC).isoformat(timespec="microseconds")[:26]}Z"}}'
        )


def _text_or_null(text: str | None) -> str:
    return "null" if text is None else _text(text)


def get_logger() -> Any:
    """Return the logger: `log.info("event", key=value)`."""
    return structlog.get_logger()
