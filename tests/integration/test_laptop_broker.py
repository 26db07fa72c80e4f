"""`make run EVENTS=nats`: a real server and the publisher beside the services."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ci import ROOT
from ci.laptop.ports import free_port
from tests.support.eventually import eventually
from tests.support.laptop import ENVIRONMENT, Laptop, free_ports
from tests.support.nats_server import received


def test_the_first_order_is_published_and_all_processes_stop(tmp_path: Path) -> None:
    laptop = Laptop.start(tmp_path / "state", {**free_ports(), "EVENTS": "nats", "NATS_PORT": str(free_port())})
    try:
        laptop.wait_until_ready()
        url = laptop.env["EVENTS_URL"]
        assert f"events   {url} " in laptop.output
        types = ["order.placed", "order.paid"]
        eventually(
            lambda: [event["type"] for _, _, event in received(url)] == types, "the first order is published", 30
        )
        assert laptop.order().json()["status"] == "paid"
        eventually(lambda: len(received(url)) == 4, "another order is published", 30)
        started = laptop.processes()
        assert {"nats", "order-publisher"} <= {path.name for path in (laptop.state / "pids").iterdir()}
    finally:
        code = laptop.stop()
    assert code == 0
    assert not [process for process in started if process.is_running()]


def test_another_broker_is_refused_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ci.laptop", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, cwd=ROOT, env={**ENVIRONMENT, "EVENTS": "mqtt"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Tandem did not start: EVENTS=mqtt: must be nats, or empty for no broker\n"
