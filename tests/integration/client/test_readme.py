"""Runs the example in docs/api.md against both services."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from ci import ROOT
from tests.support.pair import Pair
from tests.support.settings import KEY


def test_the_example_in_the_readme_works(pair: Pair) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert "tandem_client" in example
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "apps" / "client"),
        "ORDER_URL": pair.order.url,
        "PAYMENT_URL": pair.payment.url,
        "API_KEY": KEY,
    }
    done = subprocess.run([sys.executable, "-c", example], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (order,) = pair.databases.query("order", "SELECT id, refunded_amount FROM orders")
    assert done.stdout.splitlines() == [f"{order['id']} paid 900 EUR", "captured 900"]
    assert order["refunded_amount"] == 450
