"""Prometheus metrics of a service's processes, put together in one scrape.

Each process of a pod (gunicorn's workers, the relay) writes to files in PROMETHEUS_MULTIPROC_DIR; whoever
answers /metrics reads them all, and asks the database for what only it knows (depths and ages).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from chassis.database import DOWN, Database, Session

WEB = "web"
_role = WEB
_process_name = ""


def _process() -> str:
    return _process_name


def _name_process() -> None:
    global _process_name
    # Containers of one pod each have a process 1, and share the directory: a pid alone is not enough.
    _process_name = f"{_role}.{os.getpid()}"


_name_process()
os.register_at_fork(after_in_child=_name_process)


def set_role(role: str) -> None:
    """Name what this process is, before it measures anything: `web` (the default), `relay`."""
    global _role
    _role = role
    _name_process()


if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)
    values.ValueClass = values.MultiProcessValue(_process)  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

requests = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
duration = Histogram("http_request_duration_seconds", "Time to answer.", ["method", "route"], buckets=_LATENCY)
deliveries = Counter("outbox_deliveries_total", "Attempts to deliver an outbox row.", ["topic", "outcome"])
delivery_seconds = Histogram("outbox_delivery_seconds", "Time of one attempt.", ["topic"], buckets=_LATENCY)
transitions = Counter("state_transitions_total", "Changes of state.", ["kind", "from", "to"])
provider_seconds = Histogram(
    "provider_call_seconds", "Time of one call to the provider.", ["kind", "outcome"], buckets=_LATENCY
)
operations = Counter("operations_total", "Operations settled with the provider.", ["kind", "result"])
money = Counter("money_minor_units_total", "Money moved, in minor units.", ["kind", "currency"])
build = Gauge("build_info", "The running build.", ["service", "version", "python"], multiprocess_mode="livemax")

Samples = Iterable[tuple[tuple[str, ...], float]]
Read = Callable[[Session], Samples]


class DatabaseGauges(Collector):
    """Gauges whose values are read from the database when Prometheus asks."""

    def __init__(self) -> None:
        """Gauges are added with `add`."""
        self._gauges: list[tuple[str, str, tuple[str, ...], Read]] = []
        self._database: Database | None = None

    def use(self, database: Database) -> None:
        """Read from this database."""
        self._database = database

    def add(self, name: str, help_text: str, labels: tuple[str, ...], read: Read) -> None:
        """`read` gives (label values, value) pairs from a session."""
        self._gauges.append((name, help_text, labels, read))

    def collect(self) -> Iterable[Metric]:
        """Read each gauge; `database_up` says whether the database answered."""
        up = GaugeMetricFamily("database_up", "Whether this service's database answers.")
        families: list[Metric] = []
        assert self._database is not None
        try:
            session = self._database.session()
            for name, help_text, labels, read in self._gauges:
                family = GaugeMetricFamily(name, help_text, labels=labels)
                for label_values, value in read(session):
                    family.add_metric(label_values, value)
                families.append(family)
        except DOWN:
            families = []
            up.add_metric([], 0)
        else:
            up.add_metric([], 1)
        return [up, *families]


def render(gauges: DatabaseGauges) -> bytes:
    """Everything this service measures, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(gauges)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(registry) + generate_latest()


@cache
def answered(method: str, route: str, status: int) -> Callable[[float], None]:
    """What counts an answer with this status and observes its seconds; looked up once for each."""
    count, took = requests.labels(method, route, str(status)), duration.labels(method, route)

    def measure(seconds: float) -> None:
        count.inc()
        took.observe(seconds)

    return measure


def announce(service: str, version: str) -> None:
    """Set `build_info` for this process."""
    build.labels(service, version, platform.python_version()).set(1)
