"""Traces, off until OTEL_EXPORTER_OTLP_ENDPOINT says where they go; what a request is part of goes on either way.

Nothing of OpenTelemetry is imported while it is off. What makes spans is in chassis.spans; this is all that the rest
of the program sees of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import requests
from flask import Flask

from chassis.telemetry import logs

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

ON = (
    any(os.environ.get(name) for name in ENDPOINTS)
    and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
    and os.environ.get("OTEL_TRACES_EXPORTER") != "none"
)
"""Whether traces go anywhere, for as long as this process lives."""

Note = Callable[[str, str | int], None]
"""Tells an attribute of a span by its name; `error.type` says that it has failed."""

if ON:
    from chassis.telemetry.spans import exemplar as exemplar
    from chassis.telemetry.spans import follow as follow
    from chassis.telemetry.spans import http_session as http_session
    from chassis.telemetry.spans import start as start
    from chassis.telemetry.spans import stop as stop
    from chassis.telemetry.spans import work as work
else:

    def follow(app: Flask, quiet: frozenset[str], methods: frozenset[str]) -> None:
        """Have each request of an application make a span, but for those of the paths that are `quiet`.

        Of methods, only these are named.
        """

    def start(service: str, role: str) -> None:
        """Begin to send spans from this process, which is not forked after that."""

    def stop() -> None:
        """Send what has not been sent yet, for a few seconds at most."""

    def exemplar() -> dict[str, str] | None:
        """The labels that lead from a measurement to the trace of what is under way, if there is one."""
        return None

    def http_session() -> requests.Session:
        """A session of requests, whose calls are spans and tell who is called what they are part of."""
        return requests.Session()

    @contextmanager
    def work(
        name: str, headers: Mapping[str, str] | None, attributes: Mapping[str, str | int], *, calls: bool = False
    ) -> Iterator[Note]:
        """Do something that a request has left to do, as part of its trace and with its ids in the log.

        `headers` are what went with it (`web.onward`); without any, it is part of what is under way here. `calls` says
        that another party is called.
        """
        with logs.about(headers):
            yield _unheard


def _unheard(_: str, __: str | int) -> None:
    """There is no span that this could be noted of."""
