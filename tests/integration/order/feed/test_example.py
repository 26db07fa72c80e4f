"""The consumer in the documentation, run unchanged as a process, and killed in between."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from ci import ROOT
from ci.laptop import launch
from order.transition import EVENTS, TYPES
from tests.integration.order.webhooks.test_events import place
from tests.support.eventually import eventually
from tests.support.pair import Pair
from tests.support.settings import KEY

PAGE = ROOT / "docs" / "events.md"
EXAMPLE = ROOT / "docs" / "examples" / "feed_consumer.py"


def is_printed(path: Path, lines: list[str]) -> bool:
    """Return whether these are the lines in the file, apart from those that it has again."""
    return list(dict.fromkeys(path.read_text().splitlines())) == lines


def test_the_documentation_quotes_the_file() -> None:
    assert f"```python\n{EXAMPLE.read_text()}```" in PAGE.read_text()


def test_the_documentation_lists_every_type() -> None:
    text = PAGE.read_text()
    assert [kind for kind in TYPES if kind not in EVENTS and f"`{kind}`" not in text] == []


def test_the_documented_consumer_misses_no_event_although_it_is_killed(pair: Pair, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    environment = {
        **os.environ,
        "ORDER_URL": pair.order.url,
        "API_KEY": KEY,
        "CONSUMER_DB": str(tmp_path / "consumer.db"),
    }
    expected = []
    for _ in range(3):
        with printed.open("ab") as output:
            command = launch.with_parent([sys.executable, str(EXAMPLE)], "KILL")
            process = subprocess.Popen(command, env=environment, stdout=output)
        try:
            order = place(pair)
            expected += [f"order.placed {order['id']} 1", f"order.paid {order['id']} 2"]
            eventually(partial(is_printed, printed, expected), "the consumer has acted", 60)
        finally:
            process.kill()
            process.wait()
