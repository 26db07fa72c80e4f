"""Spans of this process, made with OpenTelemetry's SDK. `chassis.telemetry.tracing` imports this if tracing is on.

The instrumentation packages of OpenTelemetry are not used. They record paths, queries and errors unmasked, which may
contain card numbers and idempotency keys. The one for psycopg starts a trace for each poll of a loop, and the one for
requests sends our trace headers to every host. All that Tandem needs of them is in spans.py, http_spans.py and
database_spans.py.

Names and attributes follow OpenTelemetry's semantic conventions for HTTP, databases and messaging where there are any.
Of an error, only the type is recorded: its text may quote what a client has sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis import __version__
from chassis.telemetry import logs, trace_context

_tracer = trace.get_tracer("tandem", __version__)
_propagator = TraceContextTextMapPropagator()


@contextmanager
def span(
    name: str, headers: Mapping[str, str] | None, attributes: Mapping[str, str | int], *, calls: bool = False
) -> Iterator[Callable[[str, str | int], None]]:
    """Run the block in a span, with the ids of its request in the log. See `chassis.telemetry.tracing.span`."""
    parent = None if headers is None else extract(headers)
    kind = SpanKind.CLIENT if calls else SpanKind.CONSUMER
    with (
        open_span(name, kind, attributes, parent) as opened,
        logs.request_context({**(headers or {}), **inject()}),
    ):
        yield _setter(opened)


@contextmanager
def spans(
    each: Iterable[tuple[str, Mapping[str, str], Mapping[str, str | int]]], *, calls: bool = False
) -> Iterator[list[Callable[[str, str | int], None]]]:
    """Run the block in a span for each message of a batch. See `chassis.telemetry.tracing.spans`."""
    kind = SpanKind.CLIENT if calls else SpanKind.CONSUMER
    opened = [_tracer.start_span(name, extract(headers), kind, attributes) for name, headers, attributes in each]
    try:
        yield [_setter(span) for span in opened]
    finally:
        for span in opened:
            span.end()


def _setter(span: Span) -> Callable[[str, str | int], None]:
    def set_attribute(attribute: str, value: str | int) -> None:
        span.set_attribute(attribute, value)
        if attribute == "error.type":
            span.set_status(StatusCode.ERROR)

    return set_attribute


def exemplar() -> dict[str, str] | None:
    """Return the labels of an exemplar that leads to the current span, or None if it is not sampled."""
    current = trace.get_current_span().get_span_context()
    if not current.trace_flags.sampled:
        return None
    return {"trace_id": trace.format_trace_id(current.trace_id), "span_id": trace.format_span_id(current.span_id)}


@contextmanager
def open_span(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int], parent: context.Context | None = None
) -> Iterator[Span]:
    """Run the block in a new span, a child of `parent` or else of the current span. An exception marks it failed."""
    with _tracer.start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except Exception as error:
            fail(opened, type(error).__name__)
            raise


def fail(failed: Span, kind: str) -> None:
    """Mark a span as failed, with the type of the error: the name of an exception, or an HTTP status code."""
    failed.set_status(StatusCode.ERROR)
    failed.set_attribute("error.type", kind)


def extract(headers: Mapping[str, str]) -> context.Context:
    """Return the trace context in `traceparent` and `tracestate`; an empty one if they are missing or not valid."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if trace_context.trace_id(parent) is None:
        return context.Context()
    valid = {"traceparent": parent} | ({"tracestate": state} if trace_context.is_state(state) else {})
    return _propagator.extract(valid, context.Context())


def inject() -> dict[str, str]:
    """Return the headers that carry the current span; none outside of a span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier
