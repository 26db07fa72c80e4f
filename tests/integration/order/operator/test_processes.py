"""The page as in production: several worker processes, and its log lines."""

from __future__ import annotations

import json

import pytest

from tests.integration.faults.conftest import stack
from tests.integration.faults.stack import Stack
from tests.integration.order.operator.desk import Desk
from tests.integration.settings import LOOKING_KEY, OPERATOR_KEY

__all__ = ["stack"]


@pytest.fixture
def operator(stack: Stack) -> Desk:
    return Desk(f"http://127.0.0.1:{stack.admin_ports[0]}")


def test_a_session_is_valid_in_every_worker(operator: Desk) -> None:
    assert operator.sign_in().status_code == 303
    assert {operator.get("/operator/pending").status_code for _ in range(20)} == {200}


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
