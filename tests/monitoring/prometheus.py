"""A real Prometheus that scrapes real services. The times of alerts are shortened so that a test can wait for them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from ci import ROOT
from ci.generate import alerts
from ci.laptop import launch
from ci.laptop.ports import free_port
from tests.support.eventually import eventually

SERVICES = ("order", "payment")
FASTER = 120
"""The factor by which times in alerts are shorter: 5 minutes become 2.5 seconds, 3 hours 90 seconds. Windows are at
least 10 s long, with a scrape every 2 s."""

Fired = tuple[str, str, str]
"""An alert: its name, its service, and the window of its burn rate (or "")."""


def programs() -> tuple[str, str]:
    """Return the paths of promtool and prometheus. Exits with a hint if they are missing."""
    found = shutil.which("promtool"), shutil.which("prometheus")
    if None in found:
        sys.exit("make monitoring needs prometheus and promtool: `apt-get install prometheus`, or put both on PATH")
    return found[0] or "", found[1] or ""


class Prometheus:
    """A Prometheus that scrapes each service while the `with` block runs. `ports` are the admin ports by service."""

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        jobs = [
            {"job_name": service, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for service, port in ports.items()
        ]
        for service in SERVICES:
            (folder / f"{service}.yaml").write_text(yaml.safe_dump(alerts.groups(service, FASTER)))
        config = {
            "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
            "rule_files": [f"{service}.yaml" for service in SERVICES],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        argv = [
            programs()[1],
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self._folder / "prometheus.log").open("ab") as log:
            self._running = subprocess.Popen(
                launch.with_parent(argv, "KILL"), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(self._is_ready, "Prometheus is ready", 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.send_signal(signal.SIGTERM)
        try:
            self._running.wait(20)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query whose value is a number. Fails if the query is invalid."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=10).json()
        assert answer["status"] == "success", (query, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    def firing(self) -> set[Fired]:
        """Return the alerts that are firing now."""
        answer = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()
        return {
            (labels["alertname"], labels["tandem"], labels.get("window", ""))
            for labels in (alert["labels"] for alert in answer["data"]["alerts"] if alert["state"] == "firing")
        }


def without_cluster(path: Path, folder: Path) -> Path:
    """Write a copy of a configuration without Kubernetes service discovery, which not every promtool supports."""
    config = yaml.safe_load(path.read_text())
    config["rule_files"] = [str((path.parent / pattern).resolve()) for pattern in config["rule_files"]]
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(config))
    return copy


def all_alerts() -> set[Fired]:
    """Return all defined alerts."""
    return {
        (rule["alert"], service, rule["labels"].get("window", ""))
        for service in SERVICES
        for group in alerts.groups(service)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """Yield place and text of each query of the dashboards, with Grafana's variables replaced."""
    variables = {"$__rate_interval": "15s", "$__range": "5m", "$namespace": ".*"}
    for path in sorted(ROOT.glob("charts/*/files/dashboards/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for variable, value in variables.items():
                    query = query.replace(variable, value)
                assert not re.search(r"\$\w", query), query
                yield f"{path.parents[2].name}/{path.stem}: {panel['title']}", query
