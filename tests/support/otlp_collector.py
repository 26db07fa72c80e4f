"""A minimal OpenTelemetry collector: it receives traces (OTLP over HTTP) and keeps their spans."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.eventually import eventually
from tests.support.listening import listening


@dataclass(frozen=True)
class Seen:
    """One span. `by` is the service and role that made it; `kind` is `server`, `client`, ..."""

    by: tuple[str, str]
    trace: str
    id: str
    parent: str
    name: str
    kind: str
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """Listens on a free port, in threads, while its `with` block runs."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._spans: list[Seen] = []
        self._lock = threading.Lock()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                collector.take(body, {name.lower(): value for name, value in self.headers.items()})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._running.enter_context(listening(self._server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """Keep the spans of a request body."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.raw.append(body)
            self.headers.append(headers)
            for of in request.resource_spans:
                resource = _attributes(of.resource.attributes)
                by = (resource["service.name"], resource["tandem.role"])
                self._spans += [_seen(by, span) for scope in of.scope_spans for span in scope.spans]

    def of(self, trace: str) -> list[Seen]:
        """Return the spans of a trace received so far."""
        with self._lock:
            return [span for span in self._spans if span.trace == trace]

    def everything(self) -> list[Seen]:
        """Return all spans received so far."""
        with self._lock:
            return list(self._spans)

    def wait(self, what: str, which: Callable[[Seen], bool], trace: str | None = None) -> Seen:
        """Return the first span, of one trace or of all, for which `which` is true. Fails if none arrives in time."""

        def look() -> Seen | None:
            return next((span for span in (self.of(trace) if trace else self.everything()) if which(span)), None)

        found = eventually(look, f"a span was received: {what}")
        assert found is not None
        return found


def _seen(by: tuple[str, str], span: Span) -> Seen:
    return Seen(
        by,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.status.code == Status.STATUS_CODE_ERROR,
        _attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs if isinstance(pair, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
