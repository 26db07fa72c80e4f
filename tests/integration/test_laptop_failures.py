"""`make run` with a state directory that it cannot use: one sentence that says what to do, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci import ROOT
from ci.laptop.postgres import ADMINISTRATOR, Postgres, PostgresError
from ci.laptop.state import State, StateBroken
from tests.support.disks import mounted
from tests.support.laptop import ENVIRONMENT, free_ports


def refusal(state: Path, *, exit_code: int = 1) -> str:
    """Return what `make run` prints before it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "ci.laptop", "--state", str(state)],
        cwd=ROOT,
        env={**ENVIRONMENT, **free_ports()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == exit_code, done.stdout
    assert "Tandem did not start: " in done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert f"{tmp_path}/state is not a directory: move it away" in refusal(tmp_path / "state")


@pytest.mark.parametrize("name", ["env", "lock", "keys.json", "keys.json.unfinished"])
def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert f"{tmp_path}/{name}" in refusal(tmp_path)


def test_a_file_in_the_place_of_a_subdirectory_is_replaced_or_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    (tmp_path / "postgres").write_text("")
    assert f"{tmp_path}/postgres: File exists (move it away)" in refusal(tmp_path)
    assert (tmp_path / "logs").is_dir()


@pytest.mark.parametrize(
    "content",
    ["", '{"API', "[]", "null", '{"API_KEY": null}', '{"API_KEY": {}}', "[" * 100_000, "\0", "NaN"],
)
def test_damaged_keys_are_reported_with_a_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(StateBroken, match=r"keys\.json is damaged.* Delete it to get new keys; the databases stay"):
        State(tmp_path).keys()
    assert (tmp_path / "keys.json").read_text() == content, "nothing was overwritten"


def test_keys_that_are_not_utf_8_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(b'{"API_KEY": "\xff\xfe"}')
    assert f"{tmp_path}/keys.json is damaged" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"API_KEY": "with spaces in it"}, "API_KEY is not an API key"),
        ({"API_KEY": "$(touch file)"}, "API_KEY is not an API key"),
        ({"READONLY_API_KEY": "short"}, "READONLY_API_KEY is not an API key"),
        ({"EVENTS_SECRETS": "secret"}, "EVENTS_SECRETS is not a secret"),
        ({"API_KEY": "same-same-same", "OTHER_API_KEY": "same-same-same"}, "two keys are equal"),
    ],
)
def test_keys_that_the_services_would_refuse_are_named(tmp_path: Path, keys: dict[str, str], named: str) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    with pytest.raises(StateBroken, match=named):
        State(tmp_path).keys()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    """A server that was created, used and stopped."""
    server = Postgres(tmp_path_factory.mktemp("used") / "postgres", durable=False)
    with server:
        server.create_database("order")
    return server


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data/PG_VERSION", "9.6\n", "was written by PostgreSQL 9.6; this is PostgreSQL"),
        ("data/PG_VERSION", "99\n", r"pg_dump --no-owner --no-acl --dbname=\$ORDER_MIGRATION_DATABASE_URL"),
        ("data/PG_VERSION", None, "is not a complete data directory"),
        ("passwords.json", None, "has no password for .*/data: restore the file"),
        ("passwords.json", "{", r"passwords\.json is damaged.* Restore it"),
    ],
)
def test_data_that_cannot_be_used_are_not_touched(used: Postgres, name: str, content: str | None, said: str) -> None:
    file = used.state / name
    before = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_text(content)
    try:
        with pytest.raises((PostgresError, StateBroken), match=said) as refused:
            used.initialize()
        assert "make clean" in str(refused.value)
    finally:
        file.write_bytes(before)
    with used:
        assert used.answers()
    assert used.url(ADMINISTRATOR)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="mounts a tmpfs")
class TestDisks:
    """Disks that cannot be written to."""

    def test_a_read_only_checkout_is_reported(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", "size=1m") as disk:
            (disk / "used").mkdir()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            for state in ("new", "used"):
                said = refusal(disk / state)
                assert "Read-only file system (run Tandem from a checkout that can be written to" in said

    @pytest.mark.parametrize("mebibytes", [1, 30, 60])
    def test_a_full_disk_is_reported(self, tmp_path: Path, mebibytes: int) -> None:
        with mounted(tmp_path / "disk", f"size={mebibytes}m,mode=0755") as disk:
            said = refusal(disk / "state")
            assert f"The disk of {disk}/state is full. Free at least 200 MiB" in said
