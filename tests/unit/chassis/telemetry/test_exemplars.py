"""Exemplars of several processes, combined in one scrape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Exemplar

from chassis.telemetry import exemplars

Observe = Callable[[str, float, str, float], None]


@pytest.fixture
def observe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Observe:
    """Return a function that observes an amount with an exemplar, as a process, in the buckets 0.1 and 1."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(exemplars, "_WRITE_INTERVAL", 0.0)
    made: dict[tuple[str, str], Any] = {}

    def observe(process: str, amount: float, trace: str, at: float) -> None:
        bucket = "0.1" if amount <= 0.1 else "1.0"
        if (process, bucket) not in made:
            number = exemplars.value_class(tmp_path, lambda: process)
            made[process, bucket] = number("histogram", "took", "took_bucket", ("route", "le"), ("/x", bucket), "Time.")
        made[process, bucket].inc(1)
        made[process, bucket].set_exemplar(Exemplar({"trace_id": trace}, amount, at))

    return observe


def seen(folder: Path) -> dict[str, str]:
    """Return the trace of each bucket that has an exemplar."""
    collector = exemplars.ExemplarCollector(folder, MultiProcessCollector(None, path=str(folder)))  # type: ignore[no-untyped-call]
    samples = [sample for metric in collector.collect() for sample in metric.samples]
    return {sample.labels["le"]: sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


def test_each_bucket_has_the_newest_exemplar_of_any_process(observe: Observe, tmp_path: Path) -> None:
    observe("web.1", 0.05, "older", 1.0)
    observe("web.2", 0.06, "newer", 2.0)
    observe("web.1", 0.5, "slow", 1.5)
    assert seen(tmp_path) == {"0.1": "newer", "1.0": "slow"}


def test_exemplars_of_a_process_that_has_exited_are_removed(observe: Observe, tmp_path: Path) -> None:
    observe("web.1", 0.05, "older", 1.0)
    observe("web.2", 0.06, "newer", 2.0)
    exemplars.remove(tmp_path, "web.2")
    exemplars.remove(tmp_path, "web.3")
    assert seen(tmp_path) == {"0.1": "older"}


def test_a_file_is_written_at_most_once_per_interval(
    observe: Observe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exemplars, "_WRITE_INTERVAL", 3600.0)
    observe("web.1", 0.05, "first", 1.0)
    observe("web.1", 0.05, "second", 2.0)
    assert seen(tmp_path) == {"0.1": "first"}
    assert [path.name for path in tmp_path.glob("exemplars*")] == ["exemplars_web.1.json"]
