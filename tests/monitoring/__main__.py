"""`make monitoring`: run promtool on the rules, then a real Prometheus on real services while faults are caused.

Every query of the dashboards must return data, and every alert must fire because of its fault.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from ci import ROOT
from tests.monitoring import prometheus, scene
from tests.monitoring.faults import Fault, faults
from tests.monitoring.load import Load
from tests.monitoring.prometheus import Fired, Prometheus, all_alerts, dashboard_queries
from tests.monitoring.scene import Scene

ALERT_TIMEOUT = 60.0
"""Seconds within which a fault's alerts must fire."""


class Watcher(threading.Thread):
    """Checks once a second which alerts fire and which queries have returned data, until `end`."""

    def __init__(self, server: Prometheus) -> None:
        super().__init__(name="watcher")
        self.fired: dict[Fired, float] = {}
        self.empty = unique_queries()
        self.error: Exception | None = None
        self._server = server
        self._ending = threading.Event()

    def run(self) -> None:
        """Check until `end` is called."""
        while not self._ending.wait(1.0):
            try:
                for alert in self._server.firing():
                    self.fired[alert] = time.monotonic()
                for query in list(self.empty):
                    if self._server.query(query):
                        del self.empty[query]
            except (AssertionError, requests.RequestException) as error:
                self.error = error
                return

    def end(self) -> None:
        """Stop the thread."""
        self._ending.set()
        self.join()

    def await_alerts(self, wanted: frozenset[Fired], since: float, timeout: float) -> set[Fired]:
        """Wait until all of these alerts have fired since `since`. Return those that have not after `timeout`."""
        until = time.monotonic() + timeout
        while True:
            missing = {alert for alert in wanted if self.fired.get(alert, 0.0) < since}
            if not missing or time.monotonic() > until or self.error is not None:
                return missing
            time.sleep(0.2)

    def await_queries(self, timeout: float) -> None:
        """Wait until every query has returned data, for `timeout` seconds at most."""
        until = time.monotonic() + timeout
        while self.empty and self.error is None and time.monotonic() < until:
            time.sleep(0.2)


def unique_queries() -> dict[str, str]:
    """Return each different query of the dashboards with its place."""
    return {query: where for where, query in dashboard_queries()}


def main() -> int:
    """Return exit status 1 if a rule is wrong, an alert did not fire or a query returned no data."""
    promtool, _ = prometheus.programs()
    rules = sorted(str(path) for path in ROOT.glob("charts/*/files/rules/*.yaml"))
    tests = sorted(str(path) for path in (ROOT / "tests/monitoring").glob("*.test.yaml"))
    subprocess.run([promtool, "check", "rules", *rules], check=True)
    subprocess.run([promtool, "test", "rules", *tests], check=True)
    with tempfile.TemporaryDirectory(prefix="tandem-monitoring-") as folder:
        config = prometheus.without_cluster(ROOT / "k8s/monitoring/prometheus.yaml", Path(folder))
        subprocess.run([promtool, "check", "config", str(config)], check=True)
        with scene.running(Path(folder)) as running:
            return live(running)


def live(running: Scene) -> int:
    """Cause all faults, and report. Return 0 if there are no failures."""
    watcher = Watcher(running.scraped)
    watcher.start()
    try:
        time.sleep(15)  # normal operation, as a baseline for the faults
        all_faults = faults(running.stack, running.server, running.load, running.nats)
        missing = {alert for fault in cause(all_faults, watcher) for alert in fault}
        watcher.await_queries(ALERT_TIMEOUT)
        return report(watcher, missing, running.load)
    finally:
        watcher.end()


def cause(all_faults: list[Fault], watcher: Watcher) -> list[set[Fired]]:
    """Cause each fault, then wait for the slower alerts. Return the alerts that did not fire, by fault."""
    missing, later, began = [], list[tuple[Fault, float]](), time.monotonic()
    with ExitStack() as continuing:
        for fault in all_faults:
            since = time.monotonic()
            print(f"{since - began:4.0f} s  {fault.what}", flush=True)
            later.append((fault, since))
            if fault.alerts:
                with fault.begin():
                    missing.append(watcher.await_alerts(fault.alerts, since, ALERT_TIMEOUT))
                for alert in sorted(fault.alerts):
                    print(f"        {describe(alert)}", "did not fire" if alert in missing[-1] else "fired", flush=True)
            else:
                continuing.enter_context(fault.begin())
        for fault, since in later:
            missing.append(watcher.await_alerts(fault.later, since, 2 * ALERT_TIMEOUT))
            for alert in sorted(fault.later):
                outcome = "did not fire" if alert in missing[-1] else "fired"
                print(f"{time.monotonic() - began:4.0f} s  {fault.what}: {describe(alert)} {outcome}", flush=True)
    return missing


def describe(alert: Fired) -> str:
    """Return an alert as text."""
    name, service, window = alert
    return f"{name} of {service}" + (f" over {window}" if window else "")


def report(watcher: Watcher, missing: set[Fired], load: Load) -> int:
    """Print failures and a summary. Return 0 if there are no failures."""
    unfired = missing | (all_alerts() - set(watcher.fired))
    for alert in sorted(unfired):
        print(f"FAIL  {describe(alert)} did not fire")
    for query, where in watcher.empty.items():
        print(f"FAIL  no data: {where}: {query}")
    if watcher.error is not None:
        print(f"FAIL  {watcher.error!r}")
    queries = len(unique_queries())
    print(
        f"monitoring: {load.requests} requests, {queries - len(watcher.empty)} of {queries} queries returned data,"
        f" {len(all_alerts()) - len(unfired)} of {len(all_alerts())} alerts fired (times {prometheus.FASTER} x shorter)"
    )
    return 1 if unfired or watcher.empty or watcher.error else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
