"""A web process that cannot start says why in one sentence, with exit status 2, as the commands do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[4] / "apps"
NOWHERE = "postgresql://tandem:a-secret@127.0.0.1:1/tandem"  # it is not connected to at the start


def start(service: str, settings: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Start gunicorn, which should end at once."""
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", f"{service}:create_app()"],
        env={
            **os.environ,
            "PYTHONPATH": str(APPS),
            "DATABASE_URL": NOWHERE,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "ADMIN_PORT": "0",
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("service", "settings", "said"),
    [
        ("order", {"RELAY_CONCURRENCY": "0"}, "RELAY_CONCURRENCY=0: must be at least 1"),
        ("payment", {"DATABASE_URL": "mysql://tandem:a-secret@h/db"}, "DATABASE_URL: must be a URL that starts with"),
        ("order", {"WEB_WORKERS": "many"}, "WEB_WORKERS: must be a whole number from 1 to 128"),
        ("payment", {"HOST": "host.invalid"}, "HOST=host.invalid: must be an address of this machine"),
    ],
)
def test_an_invalid_setting_is_one_sentence(service: str, settings: dict[str, str], said: str, tmp_path: Path) -> None:
    ended = start(service, settings, tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert (ended.stdout + ended.stderr).startswith(f"Error: {said}")
    assert (ended.stdout + ended.stderr).count("\n") == 1
    assert "a-secret" not in ended.stdout + ended.stderr


def test_an_admin_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start("order", {"ADMIN_PORT": str(port)}, tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"Error: ADMIN_PORT={port}: Address already in use")
    assert ended.stderr.count("\n") == 1
