"""An OpenTelemetry collector for traces: it receives OTLP over HTTP and keeps all spans."""

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

from tests.integration.eventually import eventually
from tests.integration.listening import listening


@dataclass(frozen=True)
class Seen:
    """A received span. `by` is the service and the role of its process; `kind` is `server`, `client` and so on."""

    by: tuple[str, str]
    trace: str
    id: str
    parent: str
    name: str
    kind: str
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """Listens on a free port within a `with` block."""

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
                """Log nothing."""

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
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.raw.append(body)
            self.headers.append(headers)
            for of in request.resource_spans:
                resource = _attributes(of.resource.attributes)
                by = (resource["service.name"], resource["tandem.role"])
                self._spans += [_seen(by, span) for scope in of.scope_spans for span in scope.spans]

    def of(self, trace: str) -> list[Seen]:
        """Return the spans of a trace that have been received."""
        with self._lock:
            return [span for span in self._spans if span.trace == trace]

    def everything(self) -> list[Seen]:
        """Return all spans that have been received."""
        with self._lock:
            return list(self._spans)

    def wait(self, what: str, which: Callable[[Seen], bool], trace: str | None = None) -> Seen:
        """Wait for a span, of one trace or of any, for which `which` is true. `what` describes it in a failure."""

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
