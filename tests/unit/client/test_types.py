"""The client's types: the known values are those of the services, and type checkers find mistakes of callers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest

import order.model
import order.transition
import order.webhooks.model
import payment.model
from ci import ROOT
from tandem_client import values

PACKAGE = ROOT / "apps" / "client"
EXAMPLES = [PACKAGE / "README.md", ROOT / "docs" / "api.md", ROOT / "docs" / "client.md"]

MISTAKES = """
from tandem_client import AsyncClient, Client

tandem = Client.from_env()
order = tandem.get_order("1")
tandem.wait_until(order, "piad")  # error
tandem.list_orders(status="piad")  # error
tandem.get_order(7)  # error
order.statsu  # error
tandem.get_order("1").status.bit_length()  # error
for event in tandem.events():
    event.order.total_amount.upper()  # error


async def main(twin: AsyncClient) -> None:
    twin.get_order("1").status  # error
    (await twin.get_order("1")).status.upper()
    async for each in twin.list_orders(status=["paid", "refunded"]):
        each.total_amount.upper()  # error
"""


def check(tool: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*tool], cwd=folder, env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(PACKAGE), "HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def tools(folder: Path, mode: str = "strict") -> dict[str, list[str]]:
    """Return the command of each type checker, for Python 3.10."""
    settings = {"extraPaths": [str(PACKAGE)], "typeCheckingMode": mode, "pythonVersion": "3.10"}
    (folder / "pyrightconfig.json").write_text(json.dumps({**settings, "pythonPlatform": "Linux"}))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-version=3.10", "--cache-dir", str(folder / "cache")]
    return {
        "mypy": [*mypy, "--no-error-summary"],
        "pyright": [str(Path(sys.executable).with_name("basedpyright")), "--pythonpath", sys.executable],
    }


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_the_examples_in_the_documents_pass(tool: str, tmp_path: Path) -> None:
    for number, path in enumerate(EXAMPLES):
        for place, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)):
            (tmp_path / f"example_{number}_{place}.py").write_text(code)
    files = sorted(str(path) for path in tmp_path.glob("example_*.py"))
    assert len(files) >= len(EXAMPLES)
    # The package itself must run on Python 3.10 too.
    package = [str(PACKAGE / "tandem_client")] if tool == "mypy" else []
    done = check([*tools(tmp_path)[tool], *files, *package], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_passes_pyright(tmp_path: Path) -> None:
    command = tools(tmp_path, mode="standard")["pyright"]
    done = check([*command, str(PACKAGE / "tandem_client")], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_mistakes_are_found(tool: str, tmp_path: Path) -> None:
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    done = check([*tools(tmp_path)[tool], "mistakes.py"], tmp_path)
    found = {int(line) for line in re.findall(r"mistakes\.py:(\d+)(?::\d+)?(?: -|:) error", done.stdout)}
    lines = MISTAKES.splitlines()
    wanted = {number for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert found == wanted, done.stdout


@pytest.mark.parametrize(
    ("known", "served"),
    [
        (values.OrderStatus, order.model.Status),
        (values.EventType, order.transition.TYPES),
        (values.WebhookEventType, order.transition.EVENTS),
        (values.DeliveryEventType, (*order.transition.EVENTS, "webhook.test")),
        (values.DeliveryStatus, order.webhooks.model.Status),
        (values.PaymentStatus, payment.model.Status),
        (values.OperationKind, payment.model.Kind),
    ],
)
def test_the_known_values_are_those_of_the_services(known: Any, served: Iterable[str]) -> None:
    assert set(get_args(known)) == set(served)
