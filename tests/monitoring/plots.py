"""`make plots`: draw what the dashboards show of a fault, from their own queries on a real Prometheus.

Both services run under load; then payment's web processes are killed, and started again. The charts go to docs/plots.
Their heading says what they are made from.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from chassis import __version__
from ci import ROOT
from tests.monitoring import faults, prometheus, scene, svg
from tests.monitoring.prometheus import Prometheus

FOLDER = ROOT / "docs" / "plots"
BEFORE, DURING, AFTER = 40.0, 40.0, 60.0
"""Seconds of usual load, of the fault, and after it."""

PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "order": ("order/files/dashboards/service.json", ("Requests by route", "Time to answer", "Circuit breakers")),
    "money": (
        "order/files/dashboards/money.json",
        ("Waiting orders", "Outboxes", "Age in the outboxes", "Payments by outcome"),
    ),
}
"""The file and the panels of each page that is drawn, by its name."""

UNITS = {"reqps": "requests/s", "ops": "per second", "s": "seconds", "none": "number", "percentunit": "share"}


def main() -> int:
    """Cause the fault and write the charts. Returns 1 if a panel has no data."""
    prometheus.programs()
    with tempfile.TemporaryDirectory(prefix="tandem-plots-") as folder, scene.running(Path(folder)) as running:
        time.sleep(15)  # the rates need some samples
        began = time.time()
        time.sleep(BEFORE)
        broken = time.time() - began
        with faults.down(running.stack, "payment"):
            time.sleep(DURING)
        healed = time.time() - began
        time.sleep(AFTER)
        return write(running.scraped, began, time.time(), (broken, healed))


def write(scraped: Prometheus, began: float, ended: float, shaded: tuple[float, float]) -> int:
    """Write a file for each page. Returns 1 if a panel has no data."""
    FOLDER.mkdir(exist_ok=True)
    missing = []
    label = (
        f"The dashboard's own queries on a Prometheus, by `make plots`. Tandem {__version__}, Python"
        f" {platform.python_version()}, 4 callers, {os.cpu_count()} processors"
    )
    for name, (file, titles) in PAGES.items():
        page = json.loads((ROOT / "charts" / file).read_text())
        panels = {panel["title"]: panel for panel in page["panels"]}
        charts = []
        for title in titles:
            lines = series(scraped, panels[title], began, ended)
            if not lines:
                missing.append(f"{page['title']}: {title}")
            unit = UNITS[panels[title]["fieldConfig"]["defaults"]["unit"]]
            charts.append(svg.Chart(title, unit, lines, shaded, "payment is down"))
        (FOLDER / f"{name}.svg").write_text(svg.document(charts, page["title"], label, ended - began))
        print(f"docs/plots/{name}.svg")
    for one in missing:
        print(f"FAIL  no data: {one}")
    return 1 if missing else 0


def series(scraped: Prometheus, panel: dict[str, Any], began: float, ended: float) -> dict[str, svg.Points]:
    """Return the points of each line of a panel, by its legend. Lines that are 0 all the time are left out."""
    found: dict[str, svg.Points] = {}
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "15s").replace("$namespace", ".*")
        parameters = {"query": query, "start": str(began), "end": str(ended), "step": "2"}
        answer = requests.get(f"{scraped.url}/api/v1/query_range", params=parameters, timeout=30).json()
        assert answer["status"] == "success", (query, answer)
        for one in answer["data"]["result"]:
            legend = legend_of(target["legendFormat"], one["metric"])
            points = [(float(when) - began, float(value)) for when, value in one["values"] if value != "NaN"]
            if any(value for _, value in points):
                found[legend] = points
    return found


def legend_of(template: str, labels: Mapping[str, str]) -> str:
    """Return a legend with the labels in place of their names in double braces."""
    return re.sub(r"\{\{(\w+)\}\}", lambda part: labels.get(part[1], ""), template)


if __name__ == "__main__":
    sys.exit(main())
