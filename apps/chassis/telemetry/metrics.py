"""Prometheus metrics of all processes of a pod, in one scrape.

Each process (gunicorn's workers, the relay) writes to files in PROMETHEUS_MULTIPROC_DIR. The process that responds to
/metrics reads all files, and queries the database for the number and age of waiting rows.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from chassis.postgres.database import UNAVAILABLE, Database, Session
from chassis.telemetry import exemplars, logs, metric_files, tracing

log = logs.get_logger()

WEB = "web"
_role = WEB
_process_name = ""


def _process() -> str:
    return _process_name


def _name_process() -> None:
    global _process_name
    # The containers of a pod share the directory, and each has a process 1: the pid alone is not unique.
    _process_name = f"{_role}.{os.getpid()}"


_name_process()
os.register_at_fork(after_in_child=_name_process)


def set_role(role: str) -> None:
    """Set the role of this process: `web` (the default), `relay` or `publisher`. Call it before measuring anything."""
    global _role
    _role = role
    _name_process()


_folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if "PROMETHEUS_MULTIPROC_DIR" in os.environ else None
if _folder is not None:
    _folder.mkdir(parents=True, exist_ok=True)
    metric_files.use()
    if tracing.ENABLED:
        values.ValueClass = exemplars.value_class(_folder, _process)
    else:
        values.ValueClass = values.MultiProcessValue(_process)  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def counter(name: str, about: str, labels: Sequence[str]) -> Counter:
    """Define a counter; `about` is its help text. Each scrape adds a label with the name of the service."""
    return Counter(name, about, labels)


def latency(name: str, about: str, labels: Sequence[str]) -> Histogram:
    """Define a histogram of seconds with the buckets that all latencies have: 1 ms to 10 s."""
    return Histogram(name, about, labels, buckets=_LATENCY)


requests = counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
duration = latency("http_request_duration_seconds", "Time to answer.", ["method", "route"])
deliveries = counter("outbox_deliveries_total", "Attempts to deliver an outbox row.", ["topic", "outcome"])
delivery_seconds = latency("outbox_delivery_seconds", "Time of one attempt.", ["topic"])
transitions = counter("state_transitions_total", "Changes of state.", ["kind", "from", "to"])
breaker_open = Gauge(
    "breaker_open",
    "Whether the circuit breaker of a destination is open, in the process that changed it last.",
    ["destination"],
    multiprocess_mode="livemostrecent",
)
loop_beat = Gauge("loop_beat_timestamp_seconds", "When a loop last began a round.", ["loop"], multiprocess_mode="max")
build = Gauge("build_info", "The running build.", ["version", "python"], multiprocess_mode="livemax")

LABEL = "tandem"
"""The label with the service's name on each metric, because other software has metrics with the same names."""

COUNT_LIMIT = 20_000
"""The most rows that a gauge counts, so that a scrape stays cheap while many rows wait."""

Samples = Iterable[tuple[tuple[str, ...], tuple[float, ...]]]
Read = Callable[[Session], Samples]


class DatabaseGauges(Collector):
    """Gauges that are read from the database at each scrape."""

    def __init__(self, service: str) -> None:
        """`service` is the value of the label on all metrics."""
        self.service = service
        self._groups: list[tuple[Mapping[str, str], tuple[str, ...], Read]] = []
        self._database: Database | None = None
        self.add(
            {"database_connections": "Connections to the database, by application and state."},
            ("application", "state"),
            _connections,
        )

    def use(self, database: Database) -> None:
        """Set the database to read from."""
        self._database = database

    def add(self, gauges: Mapping[str, str], labels: tuple[str, ...], read: Read) -> None:
        """Add gauges that are read together.

        `gauges` maps the name of each to its help text. `read` returns one sample per combination of label values:
        (label values, values of the gauges).
        """
        self._groups.append((gauges, labels, read))

    def collect(self) -> Iterable[Metric]:
        """Read all gauges, and set `database_up` to whether the database responds.

        Gauges that can't be read now (locked, too slow, not migrated) are left out.
        """
        up = GaugeMetricFamily("database_up", "Whether this service's database answers.")
        families: list[Metric] = []
        assert self._database is not None
        try:
            session = self._database.session()
        except UNAVAILABLE:
            up.add_metric([], 0)
            return [up]
        for group in self._groups:
            try:
                families.extend(_read(session, *group))
            except UNAVAILABLE as error:
                if session.closed:
                    up.add_metric([], 0)
                    return [up]
                log.warning("gauges_not_read", gauges=list(group[0]), error=error)
        up.add_metric([], 1)
        return [up, *families]


def _read(session: Session, gauges: Mapping[str, str], labels: tuple[str, ...], read: Read) -> list[GaugeMetricFamily]:
    families = [GaugeMetricFamily(name, meaning, labels=labels) for name, meaning in gauges.items()]
    for label_values, numbers in read(session):
        for family, value in zip(families, numbers, strict=True):
            family.add_metric(label_values, value)
    return families


def _connections(session: Session) -> Samples:
    rows = session.execute(
        "SELECT application_name, COALESCE(state, 'unknown') AS state, count(*)::float8 AS count"
        " FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1, 2"
    )
    return [((row["application_name"], row["state"]), (row["count"],)) for row in rows]


class _WithServiceLabel(Collector):
    """Adds the service's name to each sample that other collectors return."""

    def __init__(self, service: str, *collectors: Collector) -> None:
        self._service, self._collectors = service, collectors

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the other collectors, with the label."""
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [
                    sample._replace(labels={**sample.labels, LABEL: self._service}) for sample in metric.samples
                ]
                yield metric


def render(gauges: DatabaseGauges, accept: str) -> tuple[bytes, str]:
    """Return the body of /metrics and its content type.

    `accept` is the request's Accept header. The body is OpenMetrics if the client accepts it and there are exemplars,
    which Prometheus' own text format does not have; otherwise it is in that format.
    """
    registry = CollectorRegistry()
    registry.register(_WithServiceLabel(gauges.service, gauges, _process_metrics()))
    if tracing.ENABLED and "application/openmetrics-text" in accept:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type
    return generate_latest(registry), CONTENT_TYPE_LATEST


def process_died(process: int) -> None:
    """Drop the gauges and exemplars of a web process that has exited. Its counters stay."""
    if _folder is not None:
        name = f"{WEB}.{process}"
        mark_process_dead(name)  # type: ignore[no-untyped-call]
        exemplars.remove(_folder, name)


def _process_metrics() -> Collector:
    """Return the collector of what all processes of this pod have measured."""
    if _folder is None:
        return REGISTRY
    collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
    return exemplars.ExemplarCollector(_folder, collector) if tracing.ENABLED else collector


def is_breaker_open(destination: str) -> bool:
    """Return whether the circuit breaker for a destination is open in the process of this pod that changed it last."""
    return any(
        sample.value == 1 and sample.labels.get("destination") == destination
        for metric in _process_metrics().collect()
        if metric.name == "breaker_open"
        for sample in metric.samples
    )


# To find a metric by its label values takes a lock, so each is looked up once.
@cache
def _transition(kind: str, before: str, after: str) -> Counter:
    return transitions.labels(kind, before, after)


@cache
def _request(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return requests.labels(method, route, str(status)), duration.labels(method, route)


def count_transition(kind: str, before: str, after: str, number: int = 1) -> None:
    """Count a change of state of `number` aggregates of this `kind`. `before` is empty for new ones."""
    _transition(kind, before, after).inc(number)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a response with this status and observe the seconds that it took."""
    count, took = _request(method, route, status)
    count.inc()
    took.observe(seconds, tracing.exemplar())


def set_build(version: str) -> None:
    """Set `build_info` for this process."""
    build.labels(version, platform.python_version()).set(1)
