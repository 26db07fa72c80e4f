"""Sends spans to a collector: OTLP, protobuf over HTTP."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping

import requests
from environs import FileAwareEnv
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.re import parse_env_headers

from chassis import __version__, outgoing

_FLUSH_TIMEOUT = 3.0  # seconds that a stopping process waits for the collector
_LOG_INTERVAL = 60.0  # seconds between two log lines about a collector that does not respond

_tracer_provider: TracerProvider | None = None


def start(service: str, role: str) -> None:
    """Start to export spans. See `chassis.telemetry.tracing.start`."""
    global _tracer_provider
    defaults = {
        "service.name": service,
        "service.namespace": "tandem",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{role}.{os.getpid()}",
        "tandem.role": role,
    }
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    resource = Resource.create({**defaults, **OTELResourceDetector().detect().attributes})
    _limit_logging()
    _tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(headers=_headers(), session=outgoing.limit(requests.Session()))
    _tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(_tracer_provider)


def _headers() -> Mapping[str, str] | None:
    """Return the collector's headers from a mounted secret. With None, the exporter reads its own variables."""
    if "OTEL_EXPORTER_OTLP_HEADERS_FILE" not in os.environ:
        return None
    text = FileAwareEnv(strip_whitespace=True).str("OTEL_EXPORTER_OTLP_HEADERS")
    return parse_env_headers(text, liberal=True)


def stop() -> None:
    """Export the spans that are left, for a few seconds at most."""
    if _tracer_provider is not None:
        shutdown = threading.Thread(target=_tracer_provider.shutdown, name="last-spans", daemon=True)
        shutdown.start()
        shutdown.join(_FLUSH_TIMEOUT)


class _RateLimit(logging.Filter):
    """Lets one record pass per interval, so that a collector that is down does not fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOG_INTERVAL
        return True


def _limit_logging() -> None:
    library = logging.getLogger("opentelemetry")
    library.handlers = [logging.StreamHandler(handler.stream) for handler in logging.root.handlers]  # type: ignore[attr-defined]
    for handler, root in zip(library.handlers, logging.root.handlers, strict=True):
        handler.setFormatter(root.formatter)
        handler.addFilter(_RateLimit())
    library.propagate = False
    logging.getLogger("opentelemetry.util.re").disabled = True  # it quotes headers that it can't parse
