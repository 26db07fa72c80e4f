"""Exemplars in a pod of more than one process, which the Prometheus client has none of: a trace for each bucket.

Each process remembers the last exemplar of each bucket and writes all of them to a file beside those with its numbers,
once a second at most, and in one piece. Whoever answers /metrics reads them all.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.values import MultiProcessValue

_REST = 1.0  # seconds

Key = tuple[str, tuple[str, ...]]
"""A bucket: its sample's name, and `label=value` of each of its labels in order."""


def value_class(folder: Path, process: Callable[[], str]) -> type[Any]:
    """The client's class for a number that a process keeps in a file, which remembers exemplars too.

    `process` names this process, whenever it is asked.
    """
    base: type[Any] = MultiProcessValue(process)  # type: ignore[no-untyped-call]
    book = _Book(folder, process)

    class Remembering(base):  # type: ignore[misc]
        def set_exemplar(self, exemplar: Exemplar) -> None:
            """Remember what has just been observed."""
            _, _, name, labels, values, *_ = self._params
            book.keep(_key(name, dict(zip(labels, values, strict=True))), exemplar)

    return Remembering


def forget(folder: Path, process: str) -> None:
    """Delete the exemplars of a process that is gone."""
    path = _file(folder, process)
    for left in (path, _unfinished(path)):
        left.unlink(missing_ok=True)


class WithExemplars(Collector):
    """What another collects, with the newest exemplar of any process on each bucket that has one."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        """Reads nothing yet."""
        self._folder, self._collector = folder, collector

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        newest = _read(self._folder)
        for metric in self._collector.collect():
            if metric.type == "histogram":
                metric.samples = [_with(sample, newest) for sample in metric.samples]
            yield metric


class _Book:
    """The exemplars of this process."""

    def __init__(self, folder: Path, process: Callable[[], str]) -> None:
        self._folder, self._process = folder, process
        self._kept: dict[Key, Exemplar] = {}
        self._lock = threading.Lock()
        self._rested_at = 0.0

    def keep(self, key: Key, exemplar: Exemplar) -> None:
        with self._lock:
            self._kept[key] = exemplar
            now = time.monotonic()
            if now < self._rested_at:
                return
            self._rested_at = now + _REST
            self._write()

    def _write(self) -> None:
        rows = [[*key, exemplar.labels, exemplar.value, exemplar.timestamp] for key, exemplar in self._kept.items()]
        path = _file(self._folder, self._process())
        _unfinished(path).write_text(json.dumps(rows))
        os.replace(_unfinished(path), path)


def _file(folder: Path, process: str) -> Path:
    return folder / f"exemplars_{process}.json"


def _unfinished(path: Path) -> Path:
    return path.with_suffix(".new")


def _key(name: str, labels: dict[str, str]) -> Key:
    return name, tuple(f"{label}={value}" for label, value in sorted(labels.items()))


def _read(folder: Path) -> dict[Key, Exemplar]:
    newest: dict[Key, Exemplar] = {}
    for path in folder.glob("exemplars_*.json"):
        try:
            rows = json.loads(path.read_text())
        except FileNotFoundError:
            continue  # its process has just gone
        for name, labels, carried, value, at in rows:
            key = (name, tuple(labels))
            if key not in newest or (newest[key].timestamp or 0) < at:
                newest[key] = Exemplar(carried, value, at)
    return newest


def _with(sample: Sample, newest: dict[Key, Exemplar]) -> Sample:
    found = newest.get(_key(sample.name, sample.labels)) if sample.name.endswith("_bucket") else None
    return sample if found is None else sample._replace(exemplar=found)
