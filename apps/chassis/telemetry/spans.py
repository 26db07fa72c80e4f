"""The spans of chassis.tracing, made with OpenTelemetry's SDK and sent to a collector (OTLP, protobuf over HTTP).

The instrumentation packages for Flask, requests and psycopg are not used. They record paths, queries and errors as they
are, where card numbers and idempotency keys may stand; that of psycopg makes a trace of each poll of a loop; that of
requests tells every host that is called of our traces. All that they would do here is below.

Names and attributes are those of the semantic conventions for HTTP, databases and messaging where there are any.
An error is its type and nothing else: its text may quote what a client has sent.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import requests
from environs import FileAwareEnv
from flask import Flask, Response, g, request
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers
from psycopg import Cursor
from psycopg.rows import DictRow

from chassis import __version__, cards
from chassis.postgres.database import Database, Row, Session
from chassis.postgres.prepared import Parameters
from chassis.telemetry import logs, trace_context

_FLUSH = 3.0  # seconds that a process which ends waits for the collector
_SELDOM = 60.0  # seconds between two lines about a collector that does not answer

_tracer = trace.get_tracer("tandem", __version__)
_propagator = TraceContextTextMapPropagator()
_provider: TracerProvider | None = None


def start(service: str, role: str) -> None:
    """Begin to send spans from this process, which is not forked after that: the thread that sends would be lost."""
    global _provider
    ours = {
        "service.name": service,
        "service.namespace": "tandem",
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{role}.{os.getpid()}",
        "tandem.role": role,
    }
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins.
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    _say_seldom()
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(headers=_headers())))
    trace.set_tracer_provider(_provider)


def _headers() -> Mapping[str, str] | None:
    """What the collector asks for, from a mounted secret; None leaves it to the variables that the exporter reads."""
    if "OTEL_EXPORTER_OTLP_HEADERS_FILE" not in os.environ:
        return None
    text = FileAwareEnv(strip_whitespace=True).str("OTEL_EXPORTER_OTLP_HEADERS")
    return parse_env_headers(text, liberal=True)


def stop() -> None:
    """Send what has not been sent yet, for a few seconds at most."""
    if _provider is not None:
        ending = threading.Thread(target=_provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(_FLUSH)


class _Seldom(logging.Filter):
    """Lets one record pass in a while: a collector that is down is news once, and not with each batch."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is time again."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _SELDOM
        return True


def _say_seldom() -> None:
    library = logging.getLogger("opentelemetry")
    library.handlers = [logging.StreamHandler(handler.stream) for handler in logging.root.handlers]  # type: ignore[attr-defined]
    for handler, root in zip(library.handlers, logging.root.handlers, strict=True):
        handler.setFormatter(root.formatter)
        handler.addFilter(_Seldom())
    library.propagate = False
    logging.getLogger("opentelemetry.util.re").disabled = True  # it quotes a header that it can't read


def follow(app: Flask, quiet: frozenset[str], methods: frozenset[str]) -> None:
    """Have each request of an application make a span, but for those of the paths that are `quiet`.

    The request is then part of this span: whoever reads its traceparent, to log it or to hand it on, reads ours. Of
    methods, only these are named.
    """
    Database.session_class = _Session
    app.after_request(_answered)
    answer = app.wsgi_app

    def traced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in quiet:
            return answer(environ, start_response)
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in methods else "_OTHER"
        given = {name: environ.pop(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
        attributes = {
            "http.request.method": method,
            "url.scheme": environ["wsgi.url_scheme"],
            "url.path": cards.mask(path),
        }
        with _span(method if method in methods else "HTTP", SpanKind.SERVER, attributes, _extract(given)):
            environ |= {f"HTTP_{name.upper()}": value for name, value in _carried().items()}
            return answer(environ, start_response)

    app.wsgi_app = traced  # type: ignore[method-assign]


def _answered(response: Response) -> Response:
    span = trace.get_current_span()
    if span.is_recording():
        if request.url_rule is not None:  # and so a method that we know
            span.update_name(f"{request.method} {request.url_rule.rule}")
            span.set_attribute("http.route", request.url_rule.rule)
        span.set_attribute("http.response.status_code", response.status_code)
        span.set_attribute("tandem.request_id", g.request_id)
        if g.get("merchant") is not None:
            span.set_attribute("tandem.merchant", g.merchant)
        if response.status_code >= 500:
            _fail(span, str(response.status_code))
    return response


@contextmanager
def work(
    name: str, headers: Mapping[str, str] | None, attributes: Mapping[str, str | int], *, calls: bool = False
) -> Iterator[Callable[[str, str | int], None]]:
    """Do something that a request has left to do, as part of its trace and with its ids in the log.

    `headers` are what went with it (`web.onward`); without any, it is part of what is under way here. `calls` says
    that another party is called.
    """
    parent = None if headers is None else _extract(headers)
    with _span(name, SpanKind.CLIENT if calls else SpanKind.CONSUMER, attributes, parent) as span:

        def note(attribute: str, value: str | int) -> None:
            span.set_attribute(attribute, value)
            if attribute == "error.type":
                span.set_status(StatusCode.ERROR)

        with logs.about({**(headers or {}), **_carried()}):
            yield note


def exemplar() -> dict[str, str] | None:
    """The labels that lead from a measurement to the trace of what is under way, if there is one that is kept."""
    now = trace.get_current_span().get_span_context()
    if not now.trace_flags.sampled:
        return None
    return {"trace_id": trace.format_trace_id(now.trace_id), "span_id": trace.format_span_id(now.span_id)}


def http_session() -> requests.Session:
    """A session of requests, whose calls are spans and tell who is called what they are part of."""
    return _HttpSession()


class _HttpSession(requests.Session):
    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request within a span, if it is part of a trace. Raises requests.RequestException."""
        if not trace.get_current_span().get_span_context().is_valid:
            return super().send(request, **kwargs)
        method, url = request.method or "", urlsplit(request.url or "")
        host = (url.hostname or "") + (f":{url.port}" if url.port else "")
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
            "url.full": cards.mask(url._replace(netloc=host).geturl()),
        }
        with _span(method, SpanKind.CLIENT, attributes) as span:
            request.headers.update(_carried())
            response = super().send(request, **kwargs)
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                _fail(span, str(response.status_code))
            return response


@contextmanager
def _statement(session: psycopg.Connection[DictRow], query: Any) -> Iterator[None]:
    """Execute a statement within a span, without its parameters, if it is part of a trace that is kept."""
    if not trace.get_current_span().is_recording():
        yield
        return
    text, summary = described(query)
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": session.info.dbname,
        "db.query.text": text,
        "db.query.summary": summary,
    }
    with _span(summary, SpanKind.CLIENT, attributes) as span:
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate:
                span.set_attribute("db.response.status_code", error.sqlstate)
            raise


class _Cursor(Cursor[DictRow]):
    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> _Cursor:
        """Execute within a span. Raises psycopg.Error."""
        with _statement(self.connection, query):
            return super().execute(query, params, **kwargs)


class _Session(Session):
    """A connection whose statements and transactions are spans."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take psycopg's arguments."""
        super().__init__(*args, **kwargs)
        self.cursor_factory = _Cursor

    def one(self, query: LiteralString, parameters: Parameters = ()) -> Row | None:
        """Execute within a span. Raises psycopg.Error."""
        with _statement(self, query):
            return super().one(query, parameters)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A transaction within a span, whose last part, after its statements, is the commit."""
        if not trace.get_current_span().is_recording():
            with super().atomic():
                yield
            return
        with _span("transaction", SpanKind.INTERNAL, {"db.system.name": "postgresql"}), super().atomic():
            yield


_WRITES = re.compile(r"\b(INSERT) INTO ([\w.]+)|\b(UPDATE) (?!SET |SKIP |OF )([\w.]+)|\b(DELETE) FROM ([\w.]+)")
_READS = re.compile(r"\b(SELECT)\b.*?\bFROM ([\w.]+)")


@lru_cache(512)
def described(query: Any) -> tuple[str, str]:
    """A statement in one line, and the summary of what it does to which tables: `INSERT api_keys INSERT outbox`."""
    text = " ".join((query.decode() if isinstance(query, bytes) else str(query)).split())
    named = _WRITES.findall(text) or _READS.findall(text)[:1]
    words = [word for groups in named for word in groups if word]
    return text, " ".join(words)[:255] or text.partition(" ")[0]


@contextmanager
def _span(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int], parent: context.Context | None = None
) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            _fail(span, type(error).__name__)
            raise


def _fail(span: Span, kind: str) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", kind)


def _extract(headers: Mapping[str, str]) -> context.Context:
    """The context that headers carry; an empty one if they carry none that can be kept."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if trace_context.trace_id(parent) is None:
        return context.Context()
    kept = {"traceparent": parent} | ({"tracestate": state} if trace_context.has_state(state) else {})
    return _propagator.extract(kept, context.Context())


def _carried() -> dict[str, str]:
    """The headers that say what is under way here; none if nothing is."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier
