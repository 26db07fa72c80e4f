"""JSON logs on standard output: one line a request, one line a thing done in the background."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from flask import g, has_request_context

from chassis import cards


def _mask_cards(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = cards.mask(value)
    return event


def _shorten_exceptions(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # An error's text can quote what a client sent: masked like everything else, and never multi-line.
    error = event.pop("error", None)
    if isinstance(error, BaseException):
        event["error"] = f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
    elif error is not None:
        event["error"] = error
    return event


def _name_request(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if has_request_context() and "request_id" in g:
        event["request_id"] = g.request_id
        if g.get("trace_id") is not None:
            event["trace_id"] = g.trace_id
    return event


def configure(service: str, level: str = "info") -> None:
    """Make structlog and the standard library's logging print JSON lines that name the service."""

    def name_service(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[Any] = [
        name_service,
        _name_request,
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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
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
    """Writes the line of each request: what structlog would write, at a fifth of its cost."""

    def __init__(self, service: str, level: str) -> None:
        """Silent when only what is worse than `info` is logged."""
        self._service = service
        self._wanted = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
        self._write = structlog.WriteLogger(sys.stdout).msg

    def write(
        self, method: str, route: str, path: str, status: int, ms: float, merchant: str | None, key: str | None
    ) -> None:
        """One line of JSON; `path` is a caller's text, and masked; `key` is the id of one, never a key."""
        if self._wanted:
            members = {
                "method": method,
                "route": route,
                "path": cards.mask(path),
                "status": status,
                "ms": ms,
                "merchant": merchant,
                "key": key,
                "event": "request",
                "service": self._service,
                "request_id": g.request_id,
                **({"trace_id": g.trace_id} if g.trace_id is not None else {}),
                "level": "info",
                "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            }
            self._write(_encode(members))


_encode = json.JSONEncoder().encode


def get_logger() -> Any:
    """The logger of this program: `log.info("event", key=value)`."""
    return structlog.get_logger()
