"""A full disk loses figures and log lines, never a request."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis.telemetry.logs import Output
from chassis.telemetry.metric_files import AllocatedFile


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)


def count(file: AllocatedFile, keys: int) -> None:
    for number in range(keys):
        file.write_value(f"key {number}", float(number), 0.0)  # type: ignore[no-untyped-call]


def read(file: AllocatedFile) -> dict[str, float]:
    return {key: value for key, value, *_ in file.read_all_values()}  # type: ignore[no-untyped-call]


def test_each_block_of_a_file_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "counter.db"
    file = AllocatedFile(str(path))
    count(file, 5000)
    status = path.stat()
    assert status.st_size > 1 << 17, "the file has grown"
    assert status.st_blocks * 512 >= status.st_size
    assert read(AllocatedFile(str(path), read_mode=True)) == {f"key {n}": float(n) for n in range(5000)}


@pytest.mark.usefixtures("full")
def test_a_process_that_starts_on_a_full_disk_counts_in_memory(tmp_path: Path) -> None:
    file = AllocatedFile(str(tmp_path / "counter.db"))
    count(file, 5000)
    assert len(read(file)) == 5000
    assert not list(tmp_path.iterdir()), "an empty file would make /metrics fail"


def test_a_process_whose_disk_fills_up_counts_on_in_memory(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = AllocatedFile(str(tmp_path / "counter.db"))
    count(file, 10)
    request.getfixturevalue("full")
    count(file, 5000)
    assert read(file) == {f"key {n}": float(n) for n in range(5000)}


def test_another_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AllocatedFile(str(tmp_path / "missing" / "counter.db"))


def test_a_log_line_that_cannot_be_written_is_lost() -> None:
    with open("/dev/full", "w") as full:
        output = Output(full)
        for _ in range(1000):
            output.write("a line\n" * 100)
            output.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_closed_standard_output_fails_neither_a_log_line_nor_the_end_of_the_process() -> None:
    code = (
        "from chassis.telemetry import logs; logs.configure('order'); logs.get_logger().info('a line');"
        "import logging; logging.getLogger('library').error('another one')"
    )
    closed = ["/bin/sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", code]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
