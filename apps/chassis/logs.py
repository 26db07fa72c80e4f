"""JSON logs on standard output: one line a request, one line a thing done in the background."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

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


def configure(service: str, level: str = "info") -> None:
    """Make structlog and the standard library's logging print JSON lines that name the service."""

    def name_service(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[Any] = [
        name_service,
        structlog.contextvars.merge_contextvars,
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


def get_logger() -> Any:
    """The logger of this program: `log.info("event", key=value)`."""
    return structlog.get_logger()
