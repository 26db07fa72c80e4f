"""The script of k8s/load with both services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci import ROOT
from ci.laptop.ports import free_port
from tests.support.pair import Pair
from tests.support.settings import KEY

SCRIPT = ROOT / "k8s" / "load" / "load.py"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "api-key"
    path.write_text(KEY + "\n")
    return path


def run(url: str, key_file: Path, orders: int, seconds: int) -> subprocess.CompletedProcess[str]:
    settings = {"ORDERS": str(orders), "SECONDS": str(seconds), "CALLERS": "2"}
    env = {**os.environ, "ORDER_URL": url, "API_KEY_FILE": str(key_file), **settings, "NO_PROXY": "127.0.0.1"}
    return subprocess.run([sys.executable, SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_given_number_of_orders_is_placed_and_paid(pair: Pair, key_file: Path) -> None:
    before = pair.databases.query("order", "SELECT count(*) FROM orders")[0]["count"]
    done = run(pair.order.url, key_file, orders=12, seconds=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 12 orders are paid" in done.stdout
    assert pair.databases.query("order", "SELECT count(*) FROM orders")[0]["count"] == before + 12


def test_it_stops_after_the_given_time(pair: Pair, key_file: Path) -> None:
    done = run(pair.order.url, key_file, orders=1_000_000, seconds=1)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_fails_if_no_order_is_acknowledged(key_file: Path) -> None:
    done = run(f"http://127.0.0.1:{free_port()}", key_file, orders=5, seconds=1)
    assert done.returncode == 1
    assert "no order was acknowledged" in done.stderr
