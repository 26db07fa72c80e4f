"""`make tour` shows the promise on a real stack, and docs/tour.md describes the steps that it takes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ci import ROOT
from ci.laptop.state import State
from ci.laptop.tour_stack import Failed, Tour
from ci.laptop.tour_steps import STEPS
from tests.support.eventually import eventually
from tests.support.laptop import ENVIRONMENT, free_ports


def test_the_tour_breaks_everything_and_the_promise_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ci.laptop.tour", "--state", str(tmp_path), "--no-pause"],
        cwd=ROOT,
        env={**ENVIRONMENT, **free_ports()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout
    parts = re.split(r"^\d\. ", done.stdout, flags=re.MULTILINE)[1:]
    assert len(parts) == len(STEPS)
    for part, step in zip(parts, STEPS, strict=True):
        assert part.startswith(step.title)
        assert "  row: " in part
        assert re.search(r"the provider's own records: 1 charge, [01] refunds", part)
        assert f"Done by {step.file}:" in part
    assert '"lost": 0, "charged_twice": 0' in done.stdout
    assert not (tmp_path / "env").exists(), "what the tour has started is stopped"


def test_a_process_is_killed_with_its_workers(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.reset()
    master = 'sleep 60 & echo "$!"; wait'
    with subprocess.Popen(["sh", "-c", master], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        (state.pids / "payment-web").write_text(f"{process.pid}\n")
        tour = Tour.__new__(Tour)
        tour._state, tour.say = state, lambda _: None
        tour.kill("payment-web")
        assert process.wait(10) == -signal.SIGKILL
        eventually(lambda: not is_running(worker), "the worker has ended")


def is_running(pid: int) -> bool:
    """Whether a process runs. One that has ended may be left as a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_tour_notices_a_second_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    tour = Tour.__new__(Tour)
    tour.say = lambda _: None
    two = [{"kind": "sale", "calls": 1}, {"kind": "sale", "calls": 1}]
    monkeypatch.setattr(Tour, "rows", lambda *_: two)
    with pytest.raises(Failed, match="2 charges"):
        tour.check_money("some order")


def test_the_page_describes_the_steps_that_the_tour_takes() -> None:
    text = (ROOT / "docs" / "tour.md").read_text()
    rows = re.findall(r"^\| \d \| (.+?) \| (.+?) \| (.+?) \| `(.+?)`, `(.+?)` \|$", text, re.MULTILINE)
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        (step.title, step.row, step.file, step.name) for step in STEPS
    ]
    for step in STEPS:
        assert re.fullmatch(r"apps/\S+\.py:\d+ \(\w+\)", step.place)
