"""A command whose output cannot be written says so, with exit status 2, and never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci import ROOT
from tests.support.applications import SERVICES
from tests.support.databases import Databases
from tests.support.settings import environment

FULL = Path("/dev/full")
"""A device that has no space left, on Linux."""


def run(url: str, command: str, streams: str) -> subprocess.CompletedProcess[str]:
    """Run `flask --app SERVICE COMMAND` with these redirections."""
    # Output is buffered, as in a shell: Python writes the rest when it exits.
    env = {**os.environ, **environment(url, {}), "PYTHONPATH": str(ROOT / "apps"), "PYTHONUNBUFFERED": ""}
    call = f"{sys.executable} -m flask --app {command} {streams}"
    return subprocess.run(["/bin/sh", "-c", call], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("command", ["keys list", "keys list --help", "reconcile", "purge"])
def test_a_full_disk_is_one_sentence(databases: Databases, service: str, command: str) -> None:
    done = run(databases.service_url(service), f"{service} {command}", f"> {FULL}")
    assert (done.returncode, done.stderr.count("Error: "), "Traceback" in done.stderr) == (2, 1, False), done.stderr
    if (service, command) != ("order", "reconcile"):  # payment is not there to compare with
        assert "the output cannot be written" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_key_that_could_not_be_written_can_be_replaced(databases: Databases) -> None:
    create = "order keys create --merchant output --scope orders:read"
    done = run(databases.service_url("order"), create, f"> {FULL}")
    assert done.returncode == 2
    number = done.stderr.splitlines()[-1].removeprefix("Error: key ").split()[0]
    assert f"`keys rotate {number} --overlap 0`" in done.stderr
    replaced = run(databases.service_url("order"), f"order keys rotate {number} --overlap 0", "")
    assert (replaced.returncode, replaced.stdout[:7]) == (0, "tandem_"), replaced.stderr


def test_without_standard_output_no_key_is_created(databases: Databases) -> None:
    url = databases.service_url("order")
    done = run(url, "order keys create --merchant closed --scope orders:read", ">&-")
    assert (done.returncode, done.stderr) == (2, "Error: standard output is closed, so nothing was done\n")
    assert "closed" not in run(url, "order keys list", "").stdout


def test_the_exit_status_is_the_same_if_no_message_can_be_written(databases: Databases) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    assert run(nowhere, "order keys list", f"2> {FULL}").returncode == 2
    assert run(nowhere, "order keys list", ">&-").stderr.startswith("Error: the database does not respond: ")
    # Its progress goes to standard error.
    assert run(databases.service_url("payment"), "payment resync --since 2020-01-01", f"2> {FULL}").returncode == 2
