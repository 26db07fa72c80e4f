"""A process of the stack can run with a clock that is ahead of the system's."""

from __future__ import annotations

import json
import subprocess
import sys
import time

PROGRAM = """
from tests.support import clock
clock.shift(180)
import datetime, json, time, uuid_utils
from datetime import UTC, datetime as taken
now = taken.now(UTC)
assert isinstance(now, taken) and isinstance(taken(2030, 1, 31), datetime.datetime)
print(json.dumps([time.time(), time.time_ns() / 1e9, now.timestamp(), (uuid_utils.uuid7().int >> 80) / 1000]))
"""


def test_all_clocks_of_the_process_are_ahead() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    for seen in json.loads(done.stdout):
        assert 150 < seen - time.time() < 200
