"""The page as it is in production: several workers, and logs that people read."""

from __future__ import annotations

import json

import pytest

from tests.support.fixtures.processes import stack
from tests.support.operator_client import Desk
from tests.support.settings import LOOKING_KEY, OPERATOR_KEY
from tests.support.stack import Stack

__all__ = ["stack"]


@pytest.fixture
def desk(stack: Stack) -> Desk:
    return Desk(f"http://127.0.0.1:{stack.admin_ports[0]}")


def test_a_session_is_good_at_every_worker(desk: Desk) -> None:
    assert desk.sign_in().status_code == 303
    assert {desk.get("/operator/pending").status_code for _ in range(20)} == {200}


def test_who_is_refused_and_who_acts_is_logged_but_no_key(stack: Stack, desk: Desk) -> None:
    desk.sign_in("tdm_a_guess")
    Desk(desk.url).sign_in(LOOKING_KEY)
    assert desk.sign_in().status_code == 303
    assert desk.press("/operator/provider", "/operator/provider", off="yes").status_code == 303
    text = stack.processes["order-web"].log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (refused,) = (line for line in lines if line["event"] == "operator_refused")
    assert (refused["reason"], refused["address"]) == ("unknown key", "127.0.0.1")
    (action,) = (line for line in lines if line["event"] == "operator_action")
    assert (action["action"], action["decline"]) == ("switch_faults", False)
    assert action["who"].endswith("of API_KEYS, of tandem")
    assert not any(key in text for key in ("tdm_a_guess", LOOKING_KEY, OPERATOR_KEY))
