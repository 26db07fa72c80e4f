"""The disk of the database, or that of the services' own files, is full: requests fail cleanly or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.disks import mounted
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.stack import Stack, answers

MEBIBYTE = 1 << 20


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk for as long as the block runs."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MEBIBYTE, 4096):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    assert os.statvfs(disk).f_bavail == 0
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=256m,mode=0755") as disk:
        yield disk


def test_orders_are_refused_while_the_disk_of_the_database_is_full(disk: Path, tmp_path: Path) -> None:
    server = Postgres(disk / "postgres", durable=False)
    server.initialize()
    # The WAL has a disk of its own: without room for it, PostgreSQL ends (see test_database_away).
    subprocess.run(["cp", "-a", str(server.data / "pg_wal"), str(tmp_path / "wal")], check=True)
    shutil.rmtree(server.data / "pg_wal")
    (server.data / "pg_wal").symlink_to(tmp_path / "wal")
    with server:
        databases = Databases.create(server)
        databases.migrate()
        with Stack(databases, tmp_path) as stack:
            placed = stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
            with full(disk):
                tried = [uuid.uuid4().hex for _ in range(200)]
                taken = [stack.order.post("/v1/orders", ORDER, key=key) for key in tried]
                assert {answer.status_code for answer in taken} == {201, 503}
                refused = next(answer for answer in taken if answer.status_code == 503)
                assert urlsplit(refused.json()["type"]).path == "/problems/unavailable"
                assert int(refused.headers["Retry-After"]) >= 1
                # PostgreSQL may refuse new connections now, so a thread that has none yet answers 503.
                eventually(lambda: answers(stack.order, placed.headers["Location"]), "an order is read")
                assert stack.order.get("/livez").status_code == 200
            again = [stack.order.post("/v1/orders", ORDER, key=key) for key in tried]
            assert {answer.status_code for answer in again} == {201}
            for answer in again:
                assert_is_paid_once(stack, answer)
            assert {process.starts for process in stack.processes.values()} == {1}, "no process had to be restarted"


def test_orders_are_taken_while_the_disk_of_the_services_is_full(databases: Databases, disk: Path) -> None:
    with Stack(databases, disk) as stack:
        first = stack.order.post("/v1/orders", ORDER, Prefer="wait=10")
        with full(disk):
            placed = [stack.order.post("/v1/orders", ORDER) for _ in range(20)]
            for name in ("order-web", "payment-relay"):  # what starts on a full disk works as well
                stack.processes[name].kill()
                eventually(lambda name=name: stack.processes[name].starts == 2, "it is started again")  # type: ignore[misc]
            eventually(lambda: answers(stack.order, "/readyz"), "order is ready again", 30)
            placed += [stack.order.post("/v1/orders", ORDER) for _ in range(20)]
            # Routes and outcomes that were not counted before need new room in the metric files.
            assert stack.order.get(f"/v1/orders/{uuid.uuid4()}").status_code == 404
            for port in stack.admin_ports:
                assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 200
            assert {answer.status_code for answer in placed} == {201}
            for answer in (first, *placed):
                assert_is_paid_once(stack, answer)
        starts = {name: process.starts for name, process in stack.processes.items()}
        assert starts == {"order-web": 2, "order-relay": 1, "payment-web": 1, "payment-relay": 2}
        assert os.statvfs(disk).f_bavail > 0
        assert_is_paid_once(stack, stack.order.post("/v1/orders", ORDER))


def assert_is_paid_once(stack: Stack, placed: requests.Response) -> None:
    path = placed.headers["Location"]
    eventually(lambda: stack.order.get(path).json()["status"] == "paid", "the order is paid", 60)
    assert len(stack.databases.charges(placed.json()["id"])) == 1
