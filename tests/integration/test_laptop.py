"""`make run` as a user sees it: real processes with a state directory of the test."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import requests

from ci import ROOT
from ci.laptop import launch
from ci.laptop.postgres import ADMINISTRATOR, Postgres
from tests.support.eventually import eventually
from tests.support.laptop import DEADLINE, ENVIRONMENT, Laptop, free_ports, running
from tests.support.operator_client import Desk

PROCESSES = ("postgres", "order-web", "order-relay", "payment-web", "payment-relay")


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with running(tmp_path_factory.mktemp("laptop")) as laptop:
        yield laptop.wait_until_ready()


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Laptop]:
    """A `make run` that the test may stop."""
    with running(tmp_path) as laptop:
        yield laptop


def test_an_order_was_placed_and_paid(laptop: Laptop) -> None:
    (order_id,) = re.findall(r"^Order (\S+), ", laptop.output, re.MULTILINE)
    assert laptop.get(f"{laptop.env['ORDER_URL']}/v1/orders/{order_id}").json()["status"] == "paid"
    assert "pending_payment -> paid" in laptop.output


def test_the_environment_file_has_all_addresses_and_keys(laptop: Laptop) -> None:
    env = laptop.env
    for service in ("ORDER", "PAYMENT"):
        assert requests.get(f"{env[f'{service}_URL']}/readyz", timeout=10).ok
        assert requests.get(f"{env[f'{service}_ADMIN_URL']}/metrics", timeout=10).ok
        for name, role in (("DATABASE_URL", f"{service.lower()}_service"), ("MIGRATION_DATABASE_URL", service.lower())):
            with psycopg.connect(env[f"{service}_{name}"]) as connection:
                assert connection.execute("SELECT current_user").fetchone() == (role,)
    names = ("API_KEY", "OTHER_API_KEY", "READONLY_API_KEY", "OPERATOR_API_KEY")
    assert len({env[name] for name in names}) == 4
    assert (laptop.state / "env").stat().st_mode & 0o077 == 0


def test_the_operators_page_opens_with_the_printed_key(laptop: Laptop) -> None:
    (page, key) = re.findall(r"^operator (\S+)/operator +sign in with (\S+)$", laptop.output, re.MULTILINE)[0]
    assert (page, key) == (laptop.env["ORDER_ADMIN_URL"], laptop.env["OPERATOR_API_KEY"])
    desk = Desk(page)
    assert desk.sign_in(key).status_code == 303
    assert "Faults of the payment provider" in desk.page("/operator/provider").text


def test_the_welcome_names_the_reference_the_shell_file_and_the_commands(laptop: Laptop) -> None:
    for page in re.findall(r"(http://\S+/docs)", laptop.output):
        assert requests.get(page, timeout=10).headers["Content-Type"].startswith("text/html")
    assert laptop.output.count("/docs") == 2
    assert ". .run/env" in laptop.output
    assert "./tandem-admin" in laptop.output


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_commands_work_when_pasted(laptop: Laptop) -> None:
    commands = re.findall(r"^curl .*", laptop.output, re.MULTILINE)
    answers = [
        subprocess.run(["sh", "-c", f"{command} --silent --fail"], capture_output=True, text=True, check=True)
        for command in commands
    ]
    assert len(answers) == 3
    assert all("id" in answer.stdout for answer in answers)


def serving_urls(laptop: Laptop) -> dict[str, str]:
    """The URLs of the databases that the running processes have."""
    urls = {}
    for name in PROCESSES[1:]:
        variables = psutil.Process(laptop.pid(name)).environ()
        assert "MIGRATION_DATABASE_URL" not in variables
        urls[name] = variables["DATABASE_URL"]
    return urls


@pytest.mark.adversarial
def test_no_process_that_serves_can_change_schema_or_history(laptop: Laptop) -> None:
    for name, url in serving_urls(laptop).items():
        history = "order_events" if name.startswith("order") else "ledger_entries"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in (
                f"DELETE FROM {history}",
                f"UPDATE {history} SET merchant = 'other'",
                f"ALTER TABLE {history} DISABLE TRIGGER ALL",
                "DROP TABLE outbox",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_a_state_directory_of_the_release_before_is_upgraded_to_two_roles(another: Laptop) -> None:
    """There, one role owned the tables and served, and the keys had no checksum."""
    another.wait_until_ready()
    assert another.stop() == 0
    with Postgres(another.state / "postgres") as server:
        for service in ("order", "payment"):
            with psycopg.connect(server.url(ADMINISTRATOR), dbname=service, autocommit=True) as administrator:
                administrator.execute(f"DROP OWNED BY {service}_service".encode())
                administrator.execute(f"DROP ROLE {service}_service".encode())
    passwords = another.state / "postgres" / "passwords.json"
    kept = {name: value for name, value in json.loads(passwords.read_text()).items() if "_service" not in name}
    passwords.write_text(json.dumps(kept))
    keys = another.state / "keys.json"
    old = {**json.loads(keys.read_text()), "API_KEY": f"tdm_{os.urandom(20).hex()}"}
    keys.write_text(json.dumps(old))
    again = Laptop.start(another.state)
    try:
        again.wait_until_ready()
        assert again.env["API_KEY"] == old["API_KEY"]
        assert again.order().json()["status"] == "paid"
        assert {urlsplit(url).username for url in serving_urls(again).values()} == {"order_service", "payment_service"}
    finally:
        again.stop()


@pytest.mark.parametrize(("role", "database"), [("ORDER", "payment"), ("PAYMENT", "order")])
def test_no_service_can_connect_to_the_database_of_the_other(laptop: Laptop, role: str, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{database}"'):
        psycopg.connect(laptop.env[f"{role}_DATABASE_URL"], dbname=database)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_is_restarted(laptop: Laptop, name: str) -> None:
    victim = laptop.pid(name)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: laptop.pid(name) not in (0, victim), f"{name} is restarted", DEADLINE)
    eventually(laptop.is_ready, "both services are ready again", DEADLINE)
    answer = laptop.order()
    assert (answer.status_code, answer.json()["status"]) == (201, "paid"), answer.text


def test_it_does_not_start_twice_in_one_directory(laptop: Laptop) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "ci.laptop", "--state", str(laptop.state)],
        cwd=ROOT,
        env={**ENVIRONMENT, **free_ports()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"Tandem did not start: Tandem already runs in {laptop.state}" in second.stderr
    assert laptop.is_ready()


@pytest.mark.parametrize("name", ["ORDER_PORT", "PAYMENT_PORT", "ORDER_ADMIN_PORT", "PAYMENT_ADMIN_PORT"])
def test_a_port_in_use_is_reported_before_anything_starts(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        laptop = Laptop.start(tmp_path, {**free_ports(), name: str(port)})
        assert laptop.process.wait(DEADLINE) == 1
    assert laptop.output == (f"Tandem did not start: port {port} is in use: free it, or set {name} to another port\n")


def test_it_stops_cleanly_and_starts_again_with_its_data(another: Laptop) -> None:
    first = another.wait_until_ready().env
    order = another.order().json()
    processes = another.processes()
    assert len(processes) >= len(PROCESSES)

    assert another.stop() == 0
    assert not [process for process in processes if is_alive(process)]
    assert not (another.state / "env").exists()
    assert not list((another.state / "pids").iterdir())

    again = Laptop.start(another.state, another.ports)
    try:
        assert again.wait_until_ready().env["API_KEY"] == first["API_KEY"]
        assert again.get(f"{first['ORDER_URL']}/v1/orders/{order['id']}").json() == order
    finally:
        again.stop()


def test_it_can_be_stopped_while_it_starts(another: Laptop) -> None:
    eventually(lambda: another.pid("postgres"), "PostgreSQL has started", DEADLINE)
    processes = another.processes()
    assert another.stop(signal.SIGTERM) == 0
    assert not [process for process in processes if is_alive(process)]
    assert not (another.state / "env").exists()


@pytest.mark.skipif(launch.with_parent(["x"], "TERM") == ["x"], reason="only Linux supports this")
def test_nothing_outlives_a_killed_supervisor(another: Laptop) -> None:
    processes = another.wait_until_ready().processes()
    another.stop(signal.SIGKILL)
    eventually(lambda: not [process for process in processes if is_alive(process)], "all processes are gone", DEADLINE)
