"""Exemplars of several processes: for each bucket of a histogram, a trace of a request that was counted in it.

The Prometheus client drops exemplars in its multiprocess mode. Here each process keeps the last exemplar of each bucket
and writes them to a file next to the client's own files, atomically and at most once a second. /metrics returns the
exemplars of all processes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.values import MultiProcessValue

_WRITE_INTERVAL = 1.0  # seconds

Key = tuple[str, tuple[str, ...]]
"""A bucket: the name of its sample, and its labels as sorted `label=value`."""


def value_class(folder: Path, process: Callable[[], str]) -> type[Any]:
    """Return a replacement for the client's multiprocess value class that keeps exemplars too.

    `process` returns the name of this process; it changes after a fork.
    """
    base: type[Any] = MultiProcessValue(process)  # type: ignore[no-untyped-call]
    exemplars = _ProcessExemplars(folder, process)

    class ValueWithExemplar(base):  # type: ignore[misc]
        def set_exemplar(self, exemplar: Exemplar) -> None:
            """Keep the exemplar of the latest observation."""
            _, _, name, labels, values, *_ = self._params
            exemplars.keep(_key(name, dict(zip(labels, values, strict=True))), exemplar)

    return ValueWithExemplar


def remove(folder: Path, process: str) -> None:
    """Delete the exemplars of a process that has exited."""
    path = _file(folder, process)
    for each in (path, _temporary(path)):
        each.unlink(missing_ok=True)


class ExemplarCollector(Collector):
    """Adds the newest exemplar of any process to each bucket that another collector returns."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self._folder, self._collector = folder, collector

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the other collector, with exemplars."""
        newest = _read(self._folder)
        for metric in self._collector.collect():
            if metric.type == "histogram":
                metric.samples = [_with(sample, newest) for sample in metric.samples]
            yield metric


class _ProcessExemplars:
    """The exemplars of this process."""

    def __init__(self, folder: Path, process: Callable[[], str]) -> None:
        self._folder, self._process = folder, process
        self._kept: dict[Key, Exemplar] = {}
        self._lock = threading.Lock()
        self._next_write = 0.0

    def keep(self, key: Key, exemplar: Exemplar) -> None:
        with self._lock:
            self._kept[key] = exemplar
            now = time.monotonic()
            if now < self._next_write:
                return
            self._next_write = now + _WRITE_INTERVAL
            self._write()

    def _write(self) -> None:
        rows = [[*key, exemplar.labels, exemplar.value, exemplar.timestamp] for key, exemplar in self._kept.items()]
        path = _file(self._folder, self._process())
        with suppress(OSError):  # the disk is full: a trace is not worth failing the request that it is of
            _temporary(path).write_text(json.dumps(rows))
            os.replace(_temporary(path), path)


def _file(folder: Path, process: str) -> Path:
    return folder / f"exemplars_{process}.json"


def _temporary(path: Path) -> Path:
    return path.with_suffix(".new")


def _key(name: str, labels: dict[str, str]) -> Key:
    return name, tuple(f"{label}={value}" for label, value in sorted(labels.items()))


def _read(folder: Path) -> dict[Key, Exemplar]:
    newest: dict[Key, Exemplar] = {}
    for path in folder.glob("exemplars_*.json"):
        try:
            rows = json.loads(path.read_text())
        except FileNotFoundError:
            continue  # the process has just exited
        for name, labels, carried, value, at in rows:
            key = (name, tuple(labels))
            if key not in newest or (newest[key].timestamp or 0) < at:
                newest[key] = Exemplar(carried, value, at)
    return newest


def _with(sample: Sample, newest: dict[Key, Exemplar]) -> Sample:
    found = newest.get(_key(sample.name, sample.labels)) if sample.name.endswith("_bucket") else None
    return sample if found is None else sample._replace(exemplar=found)
