"""The receiver in the documentation, run unchanged as a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import requests

from ci import ROOT
from ci.laptop import launch
from ci.laptop.ports import accepts, free_port
from order.transition import EVENTS
from order.webhooks import model
from tests.support.eventually import eventually
from tests.support.pair import ORDER, Pair
from tests.support.webhook_receiver import path_of, register

PAGE = ROOT / "docs" / "webhooks.md"
EXAMPLE = ROOT / "docs" / "examples" / "webhook_receiver.py"


def test_the_documentation_quotes_the_file() -> None:
    (quoted,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert quoted == EXAMPLE.read_text()


def test_the_documentation_lists_every_event_and_every_setting() -> None:
    text = PAGE.read_text()
    for event in (*EVENTS, model.TEST):
        assert f"| `{event}` |" in text
    settings = (ROOT / "apps" / "order" / "webhooks" / "config.py").read_text()
    for name in re.findall(r'"(WEBHOOK_[A-Z_]+)"', settings):
        assert f"`{name}`" in text


def test_the_documented_receiver_accepts_what_order_sends_and_nothing_else(pair: Pair, tmp_path: Path) -> None:
    port, printed = free_port(), tmp_path / "printed"
    endpoint = register(pair.order, f"http://127.0.0.1:{port}/hook")
    with printed.open("wb") as output:
        process = subprocess.Popen(
            launch.with_parent(
                [sys.executable, "-m", "flask", "--app", str(EXAMPLE), "run", "--port", str(port)], "KILL"
            ),
            env={**os.environ, "WEBHOOK_SECRET": endpoint["secret"]},
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        # An earlier delivery would fail, and the pauses between its attempts grow.
        eventually(lambda: accepts(port), "the receiver listens", 60)
        order = pair.order.post("/v1/orders", ORDER, Prefer="wait=10").json()
        expected = {f"order.placed {order['id']} 1", f"order.paid {order['id']} 2"}
        eventually(lambda: expected <= set(printed.read_text().splitlines()), "the receiver accepts both", 60)
        forged = requests.post(f"http://127.0.0.1:{port}/hook", json={"type": "order.paid", "data": {}}, timeout=10)
        assert forged.status_code == 400
        pair.order.request("DELETE", path_of(endpoint))
    finally:
        process.kill()
        process.wait(10)
