"""The page as in production: several worker processes, and its log lines."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import psycopg
import pytest

from ci.laptop.ports import free_port
from ci.laptop.postgres import Postgres
from tests.support.databases import Databases
from tests.support.fixtures.processes import stack
from tests.support.operator_client import Desk
from tests.support.settings import LOOKING_KEY, OPERATOR_KEY
from tests.support.stack import Stack

__all__ = ["stack"]


@pytest.fixture
def operator(stack: Stack) -> Desk:
    return Desk(f"http://127.0.0.1:{stack.admin_ports[0]}")


def test_a_session_is_valid_in_every_worker(operator: Desk) -> None:
    assert operator.sign_in().status_code == 303
    assert {operator.get("/operator/pending").status_code for _ in range(20)} == {200}


def test_the_page_can_have_a_port_of_its_own(server: Postgres, templates: Databases, tmp_path: Path) -> None:
    port = free_port()
    with psycopg.connect(server.url("postgres"), autocommit=True) as administrator:
        databases = templates.copies(administrator, f"_port_{uuid.uuid4().hex[:12]}")
    with Stack(databases, tmp_path, order_settings={"OPERATOR_PORT": str(port)}) as stack:
        own, admin = Desk(f"http://127.0.0.1:{port}"), Desk(f"http://127.0.0.1:{stack.admin_ports[0]}")
        assert own.sign_in().status_code == 303
        assert own.get("/operator").status_code == 200
        assert [own.get(path).status_code for path in ("/metrics", "/readyz", "/other")] == [404] * 3
        assert [admin.get(path).status_code for path in ("/metrics", "/readyz")] == [200] * 2
        assert admin.get("/operator").status_code == 404


def test_refused_sign_ins_and_actions_are_logged_without_the_api_key(stack: Stack, operator: Desk) -> None:
    operator.sign_in("tdm_a_guess")
    Desk(operator.url).sign_in(LOOKING_KEY)
    assert operator.sign_in().status_code == 303
    assert operator.press("/operator/provider", "/operator/provider", off="yes").status_code == 303
    text = stack.processes["order-web"].log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (refused,) = (line for line in lines if line["event"] == "operator_refused")
    assert (refused["reason"], refused["address"]) == ("unknown key", "127.0.0.1")
    (action,) = (line for line in lines if line["event"] == "operator_action")
    assert (action["action"], action["decline"]) == ("switch_faults", False)
    assert action["who"].endswith("of API_KEYS, of tandem")
    assert not any(key in text for key in ("tdm_a_guess", LOOKING_KEY, OPERATOR_KEY))
