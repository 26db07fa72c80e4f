"""Forms count only from this page, for this session, and by who may act."""

from __future__ import annotations

import pytest

from tests.support.operator_client import Desk
from tests.support.pair import Pair
from tests.support.settings import LOOKING_KEY

ACTIONS = {
    "/operator/provider": {"decline": "on"},
    "/operator/dead-letters": {"all": "yes"},
    "/operator/outbox/0195a3f0-aaaa-7e11-8d40-1f6d1c8e5a72/retry": {},
}
EVERYTHING = {**ACTIONS, "/operator/sign-out": {}}


def faults(pair: Pair) -> list[dict[str, object]]:
    return pair.databases.query("payment", "SELECT decline FROM simulator.faults WHERE decline")


@pytest.mark.parametrize("path", EVERYTHING)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1:1", "http://127.0.0.1"])
def test_a_form_of_another_site_is_refused(desk: Desk, pair: Pair, path: str, origin: str) -> None:
    answer = desk.send(path, {"token": desk.token, **EVERYTHING[path]}, Origin=origin)
    assert answer.status_code == 403
    assert desk.get("/operator").status_code == 200
    assert faults(pair) == []


@pytest.mark.parametrize("path", EVERYTHING)
def test_a_form_without_the_sessions_token_is_refused(desk: Desk, admin_url: str, pair: Pair, path: str) -> None:
    other = Desk(admin_url)
    other.sign_in()
    for token in ("", "0" * 64, "é", other.token):
        assert desk.send(path, {"token": token, **EVERYTHING[path]}).status_code == 403
    assert desk.send(path, EVERYTHING[path]).status_code == 403
    assert desk.get("/operator").status_code == 200
    assert faults(pair) == []


def test_signing_in_is_a_form_like_any_other(stranger: Desk) -> None:
    _, hidden = stranger.page("/operator/sign-in").forms[0]
    given = {**hidden, "key": "tdm_operator"}
    assert stranger.send("/operator/sign-in", given, Origin="https://evil.example").status_code == 403
    assert stranger.send("/operator/sign-in", {**given, "token": "0" * 64}).status_code == 403
    assert stranger.get("/operator").status_code == 303
    assert stranger.send("/operator/sign-in", given).status_code == 303


@pytest.mark.parametrize("path", ACTIONS)
def test_who_may_only_look_changes_nothing(stranger: Desk, pair: Pair, path: str) -> None:
    stranger.sign_in(LOOKING_KEY)
    answer = stranger.send(path, {"token": stranger.token, **ACTIONS[path]})
    assert answer.status_code == 403
    assert "operator:write" in answer.text
    assert faults(pair) == []


def test_who_may_only_look_sees_no_buttons_but_the_one_to_sign_out(stranger: Desk) -> None:
    stranger.sign_in(LOOKING_KEY)
    for path in ("", "/pending", "/dead-letters", "/ledger", "/provider"):
        assert [action for action, _ in stranger.page(f"/operator{path}").forms] == ["/operator/sign-out"]
    assert stranger.press("/operator", "/operator/sign-out").status_code == 303


@pytest.mark.parametrize("path", [path for path in EVERYTHING if "outbox" in path or "sign-out" in path])
def test_nothing_is_done_by_looking(desk: Desk, path: str) -> None:
    assert desk.get(path).status_code == 405
    assert desk.get("/operator").status_code == 200


def test_a_body_that_is_too_large_is_refused(desk: Desk) -> None:
    assert desk.send("/operator/provider", {"token": "0" * 20_000}).status_code == 413
