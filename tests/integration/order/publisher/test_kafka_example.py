"""The consumer of Kafka in the documentation, run unchanged as a process, and killed in between."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from ci import ROOT
from ci.laptop import launch
from tests.integration.order.feed.test_example import is_printed
from tests.integration.order.webhooks.test_events import place
from tests.support.eventually import eventually
from tests.support.kafka_server import KafkaServer
from tests.support.pair import Pair
from tests.support.publishing import publishing

EXAMPLE = ROOT / "docs" / "examples" / "kafka_consumer.py"


def test_the_documentation_quotes_the_file() -> None:
    assert f"```python\n{EXAMPLE.read_text()}```" in (ROOT / "docs" / "events.md").read_text()


def test_the_documented_consumer_acts_once_for_each_event_although_it_is_killed(pair: Pair, tmp_path: Path) -> None:
    printed, expected = tmp_path / "printed", list[str]()
    with KafkaServer(tmp_path) as kafka, publishing(pair.databases, kafka.url):
        environment = {**os.environ, "EVENTS_URL": kafka.url, "CONSUMER_DB": str(tmp_path / "consumer.db")}
        for _ in range(2):
            order = place(pair)
            expected += [f"order.placed {order['id']} 1", f"order.paid {order['id']} 2"]
            with printed.open("ab") as output:
                command = launch.with_parent([sys.executable, str(EXAMPLE)], "KILL")
                process = subprocess.Popen(command, env=environment, stdout=output)
            try:
                # Its partitions go to the next one when the session of the one that was killed has expired.
                eventually(partial(is_printed, printed, expected), "the consumer has acted", 90)
            finally:
                process.kill()
                process.wait()
    # What was printed and not committed when the consumer was killed is printed again: one event each time, at most.
    assert len(printed.read_text().splitlines()) <= len(expected) + 1
