"""Spans of requests that a service handles, and of requests that it sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import requests
from flask import Flask, Response, g, request
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from chassis import cards
from chassis.postgres.database import Database
from chassis.telemetry.database_spans import TracedSession
from chassis.telemetry.spans import extract, fail, inject, open_span


def instrument(app: Flask, quiet: frozenset[str], methods: frozenset[str]) -> None:
    """Open a span for each request of an application, and for each statement of its databases.

    See `chassis.telemetry.tracing.instrument`. The application finds the headers of the new span in the request, and
    logs and propagates these.
    """
    Database.session_class = TracedSession
    app.after_request(_record_response)
    respond = app.wsgi_app

    def traced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in quiet:
            return respond(environ, start_response)
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in methods else "_OTHER"
        received = {name: environ.pop(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
        attributes = {
            "http.request.method": method,
            "url.scheme": environ["wsgi.url_scheme"],
            "url.path": cards.masked_path(path.encode("latin-1").decode(errors="replace")),
        }
        with open_span(method if method in methods else "HTTP", SpanKind.SERVER, attributes, extract(received)):
            environ |= {f"HTTP_{name.upper()}": value for name, value in inject().items()}
            return respond(environ, start_response)

    app.wsgi_app = traced  # type: ignore[method-assign]


def _record_response(response: Response) -> Response:
    span = trace.get_current_span()
    if span.is_recording():
        if request.url_rule is not None:  # so the method is one that the route allows
            span.update_name(f"{request.method} {request.url_rule.rule}")
            span.set_attribute("http.route", request.url_rule.rule)
        span.set_attribute("http.response.status_code", response.status_code)
        span.set_attribute("tandem.request_id", g.request_id)
        if g.get("merchant") is not None:
            span.set_attribute("tandem.merchant", g.merchant)
        if response.status_code >= 500:
            fail(span, str(response.status_code))
    return response


def http_session() -> requests.Session:
    """Return a session of the requests library that opens a span for each call and sends the trace headers with it."""
    return _TracedHttpSession()


class _TracedHttpSession(requests.Session):
    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, in a span if there is a current one. Raises requests.RequestException."""
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
        with open_span(method, SpanKind.CLIENT, attributes) as span:
            request.headers.update(inject())
            response = super().send(request, **kwargs)
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 400:
                fail(span, str(response.status_code))
            return response
