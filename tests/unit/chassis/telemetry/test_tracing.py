"""Tracing is off unless a collector is configured, and its settings are validated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.telemetry import database_spans, spans
from ci import ROOT
from tests.support.settings import environment

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}

PROGRAM = """
import sys
import {service}, {service}.commands
app = {service}.create_app()
assert app.test_client().get("/livez").status_code == 200
print(len([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "google")]))
"""


def started(service: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a process that handles a request and then prints how many modules of OpenTelemetry it has imported."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PROMETHEUS_"))}
    env = {**mine, **environment("postgresql://nobody@127.0.0.1:1/none", {}), "PYTHONPATH": str(ROOT / "apps")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(service=service)],
        env={**env, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("service", ["order", "payment"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["not set", "empty", "disabled", "no exporter"],
)
def test_while_tracing_is_off_opentelemetry_is_not_imported(service: str, settings: dict[str, str]) -> None:
    process = started(service, settings)
    assert (process.returncode, process.stdout.split()[-1:]) == (0, ["0"]), process.stderr


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_turns_tracing_on(name: str) -> None:
    process = started("order", {name: "http://127.0.0.1:4318"})
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.split()[-1]) > 10


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ],
)
def test_an_unusable_setting_stops_the_service_at_its_start(settings: dict[str, str], said: str) -> None:
    process = started("order", settings)
    assert process.returncode != 0
    assert said in process.stderr


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
@pytest.mark.parametrize("headers", ["authorization: Bearer hush", "authorization=Bearer%0Ahush", "=hush"])
def test_malformed_headers_are_rejected_and_not_quoted(name: str, headers: str) -> None:
    process = started("order", {**ENDPOINT, name: headers})
    assert process.returncode != 0
    assert f"{name}: must be name=value" in process.stderr
    assert "hush" not in process.stderr + process.stdout


@pytest.mark.parametrize(
    ("statement", "summary"),
    [
        ("SELECT 1 FROM orders o JOIN items i USING (id) WHERE o.id = %s", "SELECT orders"),
        ("WITH a AS (INSERT INTO orders (id)\n SELECT 1),\n b AS (UPDATE x SET y = 1) SELECT",
         "INSERT orders UPDATE x"),
        ("INSERT INTO simulator.operations (key) VALUES (%s) ON CONFLICT (key) DO UPDATE SET c = 1",
         "INSERT simulator.operations"),
        ("DELETE FROM inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM inbox))", "DELETE inbox"),
        ("SELECT id FROM orders FOR NO KEY UPDATE SKIP LOCKED", "SELECT orders"),
        ("SELECT id FROM a JOIN b USING (id) FOR NO KEY UPDATE OF b", "SELECT a"),
        ("SELECT id FROM orders FOR UPDATE", "SELECT orders"),
        (b"NOTIFY outbox", "NOTIFY"),
    ],
)  # fmt: skip
def test_a_statement_is_summarized_by_what_it_does_to_which_tables(statement: str | bytes, summary: str) -> None:
    text, named = database_spans.describe(statement)
    assert named == summary
    assert "\n" not in text


def test_only_the_type_of_an_error_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    with pytest.raises(ValueError, match="quoted"), spans.span("deliver", None, {}):
        raise ValueError("what a client has sent is quoted here")
    (span,) = kept.get_finished_spans()
    assert not span.status.is_ok
    assert span.attributes == {"error.type": "ValueError"}
    assert "quoted" not in span.to_json()
