"""Checks the invariants of tests.chaos after faults of a release on the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.__main__ import REST_TIMEOUT, End, finish
from tests.chaos.consumer import Consumer
from tests.chaos.log import Log
from tests.support.cluster.databases import metrics, ports
from tests.support.cluster.logs import Logs
from tests.support.cluster.namespace import Namespace, is_ready, say
from tests.support.cluster.pods import attempt
from tests.support.databases import Databases
from tests.support.pair import Client


@dataclass
class Release:
    """A release on the cluster, as `finish` needs it."""

    namespace: Namespace
    databases: Databases
    order: Client
    payment: Client
    folder: Path
    admin_ports: tuple[int, int] = (0, 0)

    def command(self, service: str, *arguments: str) -> tuple[int, str]:
        """Run `flask` with these arguments in a pod of the service. Return the exit status and the output."""
        pod = next(pod.metadata.name for pod in self.namespace.servers(service) if is_ready(pod))
        return attempt(self.namespace.name, pod, "flask", "--app", service, *arguments, container="web")


def assert_all_hold(
    release: Release,
    log: Log,
    logs: Logs,
    began: datetime,
    consumers: Sequence[Consumer],
    within: float = REST_TIMEOUT,
) -> End:
    """Wait until no work is pending, return money without an order, and assert that every invariant holds.

    Raises AssertionError, also if a check has looked at nothing.
    """
    (release.folder / "all-web.log").write_text("\n".join(line for lines in logs.lines.values() for line in lines))
    connects: dict[str, Callable[[], Any]] = {name: metrics(release.namespace, name) for name in ("order", "payment")}
    with ports(**connects) as opened:
        release.admin_ports = opened["order"], opened["payment"]
        end = finish(log, release, began, within, consumers)
    say(f"{dict(log.outcomes)}")
    say(f"MEASURED {end.says_rest()}, {len(log.requests)} requests")
    for finding in end.findings:
        say(f"{'FAIL' if finding.wrong else 'ok'} {finding.number:2}. {finding.says}: {finding.looked_at}")
        for wrong in finding.wrong[:5]:
            say(f"     {wrong[:1000]}")
    assert not end.broken
    assert len(end.findings) == 18
    assert all(finding.looked_at for finding in end.findings)
    return end
