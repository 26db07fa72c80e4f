"""One trace covers a client's request, the services' requests and the webhooks."""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ci.laptop.ports import free_port
from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.otlp_collector import Collector, Seen
from tests.support.pair import ORDER
from tests.support.settings import INTERNAL_KEY, KEY, SECRET
from tests.support.stack import Stack
from tests.support.webhook_receiver import Receiver, register

CARD = "4111111111111111"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def databases_of_processes(server: Postgres, templates: Databases) -> Databases:
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        return templates.copies(administrator, f"_traced_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def traced(
    databases_of_processes: Databases, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Stack]:
    """Run both services as real processes that export to the collector."""
    folder = tmp_path_factory.mktemp("traced")
    secret = folder / "headers"
    secret.write_text("x-tenant=tests,authorization=Basic%20c2VjcmV0\n")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(secret),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
        "LOG_LEVEL": "info",
    }
    with Stack(databases_of_processes, folder, settings=settings) as stack:
        yield stack


def traceparent(sampled: bool = True) -> tuple[str, str, str]:
    """Return a traceparent header, and its trace id and span id."""
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return f"00-{trace}-{span}-0{int(sampled)}", trace, span


SLOW = {**ORDER, "payment_method": "pm_timeout_charged"}
"""An order whose payment the executor settles, so that order hears of it by an event."""


def place(stack: Stack, body: dict[str, Any] = ORDER, **headers: str) -> dict[str, Any]:
    placed = stack.order.post("/v1/orders", body, **headers)
    assert placed.status_code == 201, placed.text
    order: dict[str, Any] = placed.json()
    return order


def named(name: str, *by: str) -> Any:
    return lambda span: span.name == name and (not by or span.by == by)


def ancestry(span: Seen, collector: Collector) -> list[tuple[str, str, str]]:
    """Return the span and its ancestors up to the client's request: the process, the kind and the name of each.

    Waits until all of them have been received, because each process exports separately.
    """

    def complete() -> list[tuple[str, str, str]]:
        spans = {one.id: one for one in collector.of(span.trace)}
        line = []
        here: Seen | None = span
        while here is not None:
            if here.name != "transaction":
                line.append((f"{here.by[0]} {here.by[1]}", here.kind, here.name))
            here = spans.get(here.parent)
        return line if line[-1][2].startswith("POST /v1/orders") else []

    return eventually(complete, "all ancestors were received")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


TO_PAYMENT = [
    ("payment web", "server", "POST /v1/commands"),
    ("order relay", "client", "POST"),
    ("order relay", "consumer", "deliver payment.create"),
    ("order web", "server", "POST /v1/orders"),
]
BACK = [
    ("order web", "server", "POST /v1/payment-events"),
    ("payment relay", "client", "POST"),
    ("payment relay", "consumer", "deliver payment.updated"),
]


@pytest.mark.parametrize("from_client", [True, False], ids=["the client's trace", "a new trace"])
def test_one_trace_covers_the_request_the_provider_and_the_event(
    traced: Stack, collector: Collector, from_client: bool
) -> None:
    given, trace, parent = traceparent()
    request_id = str(uuid.uuid4())
    place(traced, SLOW, X_Request_Id=request_id, **({"traceparent": given} if from_client else {}))
    root = collector.wait(
        "the request",
        lambda span: span.name == "POST /v1/orders" and span.attributes["tandem.request_id"] == request_id,
    )
    assert (root.trace == trace, root.parent) == ((True, parent) if from_client else (False, ""))
    provider = collector.wait("the provider's", named("provider sale", "payment", "web"), root.trace)
    event = collector.wait("the event's", named("POST /v1/payment-events"), root.trace)
    for name in ("POST", "deliver payment.create"):
        collector.wait(name, named(name, "order", "relay"), root.trace)
    for name in ("POST", "deliver payment.updated"):
        collector.wait(name, named(name, "payment", "relay"), root.trace)
    collector.wait("the payment's", named("POST /v1/commands"), root.trace)
    assert ancestry(provider, collector) == [("payment web", "client", "provider sale"), *TO_PAYMENT]
    assert ancestry(event, collector) == [*BACK, *TO_PAYMENT]


def test_commands_that_are_sent_together_belong_to_the_traces_of_their_orders(
    traced: Stack, collector: Collector
) -> None:
    each = [traceparent() for _ in range(3)]
    traced.held.add("order-relay")
    traced.processes["order-relay"].kill()
    try:
        for given, _, _ in each:
            place(traced, traceparent=given)
    finally:
        traced.held.discard("order-relay")
    for _, trace, _ in each:
        provider = collector.wait("the provider's", named("provider sale", "payment", "web"), trace)
        collector.wait("the request", named("POST /v1/orders"), trace)
        assert ancestry(provider, collector) == [("payment web", "client", "provider sale"), TO_PAYMENT[-1]]


def test_a_webhook_belongs_to_the_trace_of_its_cause(traced: Stack, collector: Collector) -> None:
    given, trace, _ = traceparent()
    with Receiver() as receiver:
        endpoint = register(traced.order, f"{receiver.url}/secret-path")
        try:
            order = place(traced, traceparent=given)
            eventually(
                lambda: receiver.types(order["id"]) == ["order.placed", "order.paid"], "both webhooks were received"
            )
            told = collector.wait("the first", named("deliver order.placed"), trace)
            collector.wait("the second", named("deliver order.paid"), trace)
        finally:
            traced.order.request("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")
    assert ancestry(told, collector) == [("order relay", "consumer", "deliver order.placed"), TO_PAYMENT[-1]]
    assert told.attributes["http.response.status_code"] == 204
    assert not any(b"secret-path" in body for body in collector.raw)
    # Trace headers are not sent to merchants.
    assert not [one for one in receiver.received if "traceparent" in one.headers]


def test_the_webhook_of_a_refund_belongs_to_the_trace_of_the_refund(traced: Stack, collector: Collector) -> None:
    order = place(traced, Prefer="wait=10")
    given, trace, _ = traceparent()
    with Receiver() as receiver:
        endpoint = register(traced.order, receiver.url)
        try:
            traced.order.post(f"/v1/orders/{order['id']}/refunds", {"amount": 100}, traceparent=given)
            told = collector.wait("the webhook", named("deliver refund.succeeded"), trace)
            collector.wait("the request", named("POST /v1/orders/<uuid:order_id>/refunds"), trace)
        finally:
            traced.order.request("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")
    assert ancestry(told, collector)[-1] == ("order web", "server", "POST /v1/orders/<uuid:order_id>/refunds")


def test_with_prefer_wait_the_delivery_is_a_child_of_the_request(traced: Stack, collector: Collector) -> None:
    given, trace, _ = traceparent()
    assert place(traced, Prefer="wait=10", traceparent=given)["status"] == "paid"
    delivery = collector.wait("the delivery", named("deliver payment.create", "order", "web"), trace)
    collector.wait("the request", named("POST /v1/orders"), trace)
    assert ancestry(delivery, collector) == [("order web", "consumer", "deliver payment.create"), TO_PAYMENT[-1]]


def test_a_retry_in_the_background_belongs_to_the_same_trace(traced: Stack, collector: Collector) -> None:
    given, trace, _ = traceparent()
    traced.order.post("/v1/orders", {**ORDER, "payment_method": "pm_timeout_lost"}, traceparent=given)
    first = collector.wait("the first call", named("provider sale", "payment", "web"), trace)
    again = collector.wait("the second call", named("provider sale", "payment", "relay"), trace)
    collector.wait("the request", named("POST /v1/commands"), trace)
    assert (first.failed, first.attributes["tandem.outcome"]) == (True, "unknown")
    assert (again.failed, again.attributes["tandem.outcome"], again.attributes["tandem.attempt"]) == (
        False,
        "succeeded",
        2,
    )
    assert again.parent == first.parent


def test_an_unsampled_trace_is_propagated_and_not_exported(traced: Stack, collector: Collector) -> None:
    given, trace, _ = traceparent(sampled=False)
    order = place(traced, SLOW, Prefer="wait=10", traceparent=given, tracestate="vendor=opaque")
    assert order["status"] == "paid"
    later, other, _ = traceparent()
    place(traced, SLOW, traceparent=later, tracestate="vendor=opaque,other=1")
    collector.wait("the one that is sampled", named("POST /v1/payment-events"), other)
    assert collector.of(trace) == []
    for service in ("order", "payment"):
        rows = traced.databases.query(service, "SELECT headers FROM outbox")
        of = {row["headers"]["traceparent"][3:35]: row["headers"] for row in rows}
        assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-00", of[trace]["traceparent"])
        assert of[trace]["tracestate"] == "vendor=opaque"
        assert re.fullmatch(f"00-{other}-[0-9a-f]{{16}}-01", of[other]["traceparent"])
        assert of[other]["tracestate"] == "vendor=opaque,other=1"
    assert [one for one in lines(traced.folder / "payment-web.log") if one.get("trace_id") == trace]


@pytest.mark.parametrize("given", ["", "none", f"00-{'0' * 32}-{'a' * 16}-01", f"00-{'a' * 32}-{CARD}-01"])
def test_an_invalid_trace_is_replaced(traced: Stack, collector: Collector, given: str) -> None:
    answer = traced.order.get("/v1/orders", headers={"traceparent": given, "tracestate": f"a={CARD}"})
    span = collector.wait(
        "the request", lambda span: span.attributes.get("tandem.request_id") == answer.headers["X-Request-Id"]
    )
    assert (span.name, span.parent) == ("GET /v1/orders", "")
    assert span.trace != given[3:35]


def test_lines_of_a_relay_have_the_trace_id(traced: Stack, collector: Collector) -> None:
    traced.held.add("payment-web")
    traced.processes["payment-web"].kill()
    try:
        request_id = str(uuid.uuid4())
        place(traced, X_Request_Id=request_id)

        def told() -> dict[str, Any] | None:
            about = [one for one in lines(traced.folder / "order-relay.log") if one.get("request_id") == request_id]
            return next((one for one in about if one["event"] == "delivery_failed"), None)

        line = eventually(told, "the relay logs that payment is down")
    finally:
        traced.held.discard("payment-web")
    assert line is not None
    delivery = collector.wait(
        "the attempt", lambda span: span.name == "deliver payment.create" and span.failed, line["trace_id"]
    )
    assert delivery.attributes["error.type"] == "unreachable"
    requests_of = [one for one in lines(traced.folder / "order-web.log") if one.get("request_id") == request_id]
    assert [one["trace_id"] for one in requests_of] == [line["trace_id"]]
    collector.wait("it comes through", named("POST /v1/commands"), line["trace_id"])


def test_spans_have_the_route_and_the_outcome(traced: Stack, collector: Collector) -> None:
    given, trace, _ = traceparent()
    traced.order.get(f"/v1/orders/{uuid.uuid4()}", headers={"traceparent": given})
    span = collector.wait("the request", named("GET /v1/orders/<uuid:order_id>"), trace)
    assert (span.kind, span.failed, span.attributes["http.response.status_code"]) == ("server", False, 404)
    statement = collector.wait("its statement", lambda span: span.parent == span_of(trace, collector).id, trace)
    assert (statement.name, statement.kind) == ("SELECT orders", "client")
    assert statement.attributes["db.system.name"] == "postgresql"
    given, trace, _ = traceparent()
    traced.order.get("/nowhere/at/all", headers={"traceparent": given})
    span = collector.wait("the request", lambda span: span.kind == "server", trace)
    assert (span.name, "http.route" in span.attributes) == ("GET", False)
    traced.order.get("/livez", headers={"traceparent": given})
    assert not [span for span in collector.everything() if "livez" in str(span.attributes)]


def span_of(trace: str, collector: Collector) -> Seen:
    return collector.wait("the request", lambda span: span.kind == "server", trace)


def test_idle_loops_create_no_traces(traced: Stack, collector: Collector) -> None:
    place(traced, Prefer="wait=10")
    roots = {span.name for span in collector.everything() if not span.parent}
    assert all(re.match("(GET|POST|DELETE)", name) for name in roots), roots


def test_spans_contain_no_secrets_and_no_content(traced: Stack, collector: Collector) -> None:
    key, customer = f"key-{uuid.uuid4()}", f"customer-{uuid.uuid4()}"
    order = traced.order
    placed = order.post("/v1/orders", {**ORDER, "customer": customer}, key, Prefer="wait=10")
    assert placed.json()["status"] == "paid"
    order.post("/v1/orders", {**ORDER, "customer": CARD}, key)
    order.get(f"/v1/orders/{CARD}")
    order.get(f"/{CARD[:4]}-{CARD[4:8]}-{CARD[8:12]}-{CARD[12:]}")
    order.get(f"/v1/orders?customer={CARD}")
    order.request(CARD, "/v1/orders")
    order.get("/v1/orders", headers={"X-Request-Id": CARD, "baggage": f"card={CARD}"})
    given, trace, _ = traceparent()
    order.get("/v1/orders", headers={"traceparent": given})
    collector.wait("the last", named("GET /v1/orders"), trace)

    def masked() -> list[Seen]:
        return [span for span in collector.everything() if "[card" in str(span.attributes.get("url.path"))]

    eventually(lambda: len(masked()) == 2, "the spans of the other worker were received")
    commands = [
        str(row["id"])
        for service in ("order", "payment")
        for row in traced.databases.query(service, f"SELECT id FROM {'outbox' if service == 'order' else 'operations'}")
    ]
    sent = b"\n".join(collector.raw)
    for hidden in (key, customer, CARD, KEY, INTERNAL_KEY, SECRET, "c2VjcmV0", "postgresql://", *commands):
        assert hidden.encode() not in sent, hidden


def test_exports_name_the_service_and_carry_the_headers_from_the_secret(traced: Stack, collector: Collector) -> None:
    place(traced)
    collector.wait("anything", lambda _: True)
    assert {headers["x-tenant"] for headers in collector.headers} == {"tests"}
    assert {headers["authorization"] for headers in collector.headers} == {"Basic c2VjcmV0"}
    assert {headers["content-type"] for headers in collector.headers} == {"application/x-protobuf"}
    assert {span.by[0] for span in collector.everything()} <= {"order", "payment"}
    assert any(b"deployment.environment.name" in body for body in collector.raw)


OPEN_METRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"


def exemplars(stack: Stack, service: str, histogram: str) -> dict[str, str]:
    """Parse /metrics as OpenMetrics. Returns, by trace id, the label of the series in which an exemplar is."""
    port = dict(zip(("order", "payment"), stack.admin_ports, strict=True))[service]
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": OPEN_METRICS}, timeout=10)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    family = next(one for one in families if one.name == histogram)
    found = {}
    for sample in family.samples:
        if sample.exemplar is not None:
            assert sample.name == f"{histogram}_bucket"
            assert sample.labels["tandem"] == service
            assert 0 < sample.exemplar.value <= float(sample.labels["le"])
            kind = sample.labels.get("route") or sample.labels.get("topic") or sample.labels.get("kind") or ""
            found[sample.exemplar.labels["trace_id"]] = kind
    return found


@pytest.mark.parametrize(
    ("service", "histogram", "kind"),
    [
        ("order", "http_request_duration_seconds", "/v1/orders"),
        ("order", "outbox_delivery_seconds", "payment.create"),
        ("payment", "http_request_duration_seconds", "/v1/commands"),
        ("payment", "outbox_delivery_seconds", "payment.updated"),
        ("payment", "provider_call_seconds", "sale"),
    ],
)
def test_a_bucket_has_an_exemplar_with_its_trace(
    traced: Stack, collector: Collector, service: str, histogram: str, kind: str
) -> None:
    traces = []

    def led() -> bool:
        given, trace, _ = traceparent()
        traces.append(trace)
        place(traced, SLOW if kind == "payment.updated" else ORDER, traceparent=given)
        found = exemplars(traced, service, histogram)
        return any(found.get(trace) == kind for trace in traces)

    eventually(led, "one of these traces is in an exemplar", 30)


def test_exemplars_are_in_the_openmetrics_format_only(traced: Stack) -> None:
    place(traced)
    text = requests.get(f"http://127.0.0.1:{traced.admin_ports[0]}/metrics", timeout=10)
    assert text.headers["Content-Type"].startswith("text/plain")
    assert "trace_id" not in text.text


def test_exemplars_of_a_worker_are_removed_when_it_exits(traced: Stack) -> None:
    folder = traced.folder / "metrics-order"
    place(traced)
    before = set(eventually(lambda: list(folder.glob("exemplars_web.*.json")), "the workers have written exemplars"))
    worker = next(iter(before)).name.split(".")[1]
    os.kill(int(worker), signal.SIGTERM)
    eventually(lambda: not (folder / f"exemplars_web.{worker}.json").exists(), "the file is removed")


def test_a_process_exports_its_last_spans_when_it_stops(server: Postgres, templates: Databases, tmp_path: Path) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        databases = templates.copies(administrator, f"_ending_{uuid.uuid4().hex[:12]}")
    with Collector() as collector:
        settings = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        with Stack(databases, tmp_path, settings=settings) as stack:
            given, trace, _ = traceparent()
            order = place(stack, traceparent=given)
            eventually(lambda: stack.order.get(f"/v1/orders/{order['id']}").json()["status"] == "paid", "it is paid")
            assert collector.of(trace) == []
            for name, process in stack.processes.items():
                stack.held.add(name)
                process.kill(signal.SIGTERM)
            eventually(
                lambda: all(process.is_dead for process in stack.processes.values()), "all processes have exited"
            )
        by = {span.by for span in collector.of(trace)}
        assert {("order", "web"), ("order", "relay"), ("payment", "web")} <= by


def test_a_collector_that_is_down_delays_nothing_and_is_logged_once(
    server: Postgres, templates: Databases, tmp_path: Path
) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        databases = templates.copies(administrator, f"_away_{uuid.uuid4().hex[:12]}")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BSP_MAX_QUEUE_SIZE": "20",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
    }
    with Stack(databases, tmp_path, settings=settings) as stack:
        for _ in range(30):
            assert place(stack, Prefer="wait=10")["status"] == "paid"

        def logged(name: str) -> list[dict[str, Any]]:
            return [one for one in lines(tmp_path / f"{name}.log") if one.get("logger", "").startswith("opentelemetry")]

        eventually(lambda: logged("order-web"), "the failure is logged")
        for name in stack.processes:
            assert len(logged(name)) <= 2, logged(name)  # one for each worker
        for name, process in stack.processes.items():
            stack.held.add(name)
            process.kill(signal.SIGTERM)
        eventually(
            lambda: all(process.is_dead for process in stack.processes.values()), "all processes have exited", 15
        )
