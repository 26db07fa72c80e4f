"""Traces: what the rest of the program calls. They are off until OTEL_EXPORTER_OTLP_ENDPOINT names a collector.

While tracing is off, nothing of OpenTelemetry is imported, and these functions do nothing. The trace headers of a
request are logged and propagated all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import requests
from flask import Flask

from chassis.telemetry import logs

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

ENABLED = (
    any(os.environ.get(name) for name in ENDPOINTS)
    and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
    and os.environ.get("OTEL_TRACES_EXPORTER") != "none"
)
"""Whether this process exports spans."""

SetAttribute = Callable[[str, str | int], None]
"""Sets an attribute of a span by its name. `error.type` also marks the span as failed."""

if ENABLED:
    from chassis.telemetry.export import start as start
    from chassis.telemetry.export import stop as stop
    from chassis.telemetry.http_spans import http_session as http_session
    from chassis.telemetry.http_spans import instrument as instrument
    from chassis.telemetry.spans import exemplar as exemplar
    from chassis.telemetry.spans import span as span
    from chassis.telemetry.spans import spans as spans
else:

    def instrument(app: Flask, quiet: frozenset[str], methods: frozenset[str]) -> None:
        """Open a span for each request of an application, except for requests to the `quiet` paths.

        Methods other than `methods` are not named in spans, so that clients do not create any number of names.
        """

    def start(service: str, role: str) -> None:
        """Start to export the spans of this process. Do not fork afterwards: the exporting thread would be lost."""

    def stop() -> None:
        """Export the spans that are left, for a few seconds at most."""

    def exemplar() -> dict[str, str] | None:
        """Return the labels of an exemplar that leads to the current span, or None if it is not sampled."""
        return None

    def http_session() -> requests.Session:
        """Return a session of the requests library that opens a span for each call and sends the trace headers."""
        return requests.Session()

    @contextmanager
    def span(
        name: str, headers: Mapping[str, str] | None, attributes: Mapping[str, str | int], *, calls: bool = False
    ) -> Iterator[SetAttribute]:
        """Run the block in a span, with the ids of its request in the log. Yields a function that sets attributes.

        `headers` were stored with the work (`chassis.service.propagated_headers`) and name the parent; with None, the
        parent is the current span. `calls` says that the block calls another system, which makes it a client span.
        """
        with logs.request_context(headers):
            yield _ignore

    @contextmanager
    def spans(
        each: Iterable[tuple[str, Mapping[str, str], Mapping[str, str | int]]], *, calls: bool = False
    ) -> Iterator[list[SetAttribute]]:
        """Run the block in a span for each message of a batch; none of them is the current span.

        `each` yields what `span` takes: a name, the stored headers that name the parent, and attributes. Yields
        functions that set attributes, in the same order.
        """
        yield [_ignore for _ in each]


def _ignore(_: str, __: str | int) -> None:
    pass
