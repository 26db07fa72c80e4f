"""Both services behind PgBouncer in transaction mode, where each transaction may have another server connection."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ci.laptop.ports import accepts, free_port
from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.pair import ORDER
from tests.support.stack import Stack

OLDEST = (1, 21)
"""The first release of PgBouncer that follows prepared statements in transaction mode."""


def pgbouncer() -> str:
    """Return the path of a PgBouncer that is new enough; skip the test if there is none."""
    found = shutil.which(os.environ.get("TANDEM_PGBOUNCER", "pgbouncer"))
    if found is None:
        pytest.skip("no pgbouncer on PATH (or TANDEM_PGBOUNCER)")
    shown = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    assert version is not None, shown
    if (int(version[1]), int(version[2])) < OLDEST:
        pytest.skip(f"{version[0]} does not follow prepared statements in transaction mode: 1.21 or newer is needed")
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path / "postgres", durable=False) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            # Behind a pooler, what a connection sets for itself would hold for others: the role has the time limits.
            for setting in ("statement_timeout = '10s'", "lock_timeout = '1s'"):
                connection.execute(f"ALTER ROLE ALL SET {setting}".encode())
        yield server


@pytest.fixture
def databases(server: Postgres) -> Databases:
    databases = Databases(server.create_database("order"), server.create_database("payment"))
    databases.migrate()  # past the pooler: a migration needs a session of its own
    return databases


@pytest.fixture
def pooler(server: Postgres, databases: Databases, tmp_path: Path) -> Iterator[int]:
    """Start PgBouncer with four connections for each database; return its port."""
    program, port = pgbouncer(), free_port()
    users = [urlsplit(url) for url in (databases.order, databases.payment)]
    (tmp_path / "users.txt").write_text("".join(f'"{each.username}" "{each.password}"\n' for each in users))
    (tmp_path / "pgbouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {tmp_path}/users.txt
pool_mode = transaction
default_pool_size = 4
max_prepared_statements = 200
"""
    )
    for path in (tmp_path, *tmp_path.parents):
        if os.geteuid() == 0 and path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    as_user = ["--user=nobody"] if os.geteuid() == 0 else []
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([program, *as_user, str(tmp_path / "pgbouncer.ini")], stdout=log, stderr=log)
    try:
        eventually(lambda: accepts(port), f"PgBouncer listens (see {tmp_path}/pgbouncer.log)")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_orders_are_paid_behind_a_pooler(databases: Databases, pooler: int, server: Postgres, tmp_path: Path) -> None:
    urls = [url.replace(f":{server.port}/", f":{pooler}/") for url in (databases.order, databases.payment)]
    with Stack(Databases(*urls), tmp_path, settings={"DATABASE_POOLED": "true"}) as stack:
        placed = [stack.order.post("/v1/orders", ORDER, key=f"pooled-{number}") for number in range(40)]
        placed += [stack.order.post("/v1/orders", ORDER, Prefer="wait=10") for _ in range(10)]
        again = [stack.order.post("/v1/orders", ORDER, key=f"pooled-{number}") for number in range(40)]
        assert {answer.status_code for answer in placed} == {201}
        assert [answer.json()["id"] for answer in again] == [answer.json()["id"] for answer in placed[:40]]
        for answer in placed:
            path = answer.headers["Location"]
            eventually(lambda path=path: stack.order.get(path).json()["status"] == "paid", "it is paid")  # type: ignore[misc]
            assert len(databases.charges(answer.json()["id"])) == 1
        path = placed[0].headers["Location"]
        assert stack.order.post(f"{path}/refunds", {"amount": 100}).status_code == 201
        eventually(lambda: stack.order.get(path).json()["refunded_amount"] == 100, "it is refunded")
        for name in ("order", "payment"):
            used = databases.query(
                name, "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
            )
            assert used[0]["count"] <= 4
    for log in tmp_path.glob("*-*.log"):
        assert "prepared statement" not in log.read_text(), log
