"""Who sees the operator's page: who has a key with the scope, for an hour, and no longer than the key is good."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest
import requests

from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.operator_client import Desk, Page
from tests.support.pair import ORDER, Pair
from tests.support.settings import KEY, OPERATOR_KEY

PAGES = ["", "/pending", "/dead-letters", "/ledger", "/provider", "/orders/0195a3f0-7c1e-7d54-9b2a-3f6d1c8e5a70"]


def cookie_of(answer: requests.Response) -> str:
    """The attributes of the cookie that an answer sets."""
    return answer.headers["Set-Cookie"]


def create_key(pair: Pair, *scopes: str, name: str = "night shift") -> str:
    made = pair.order_app.test_cli_runner().invoke(
        args=["keys", "create", "--merchant=ops", f"--name={name}", *(f"--scope={scope}" for scope in scopes)]
    )
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_shown_to_who_is_not_signed_in(stranger: Desk, path: str) -> None:
    answer = stranger.get(f"/operator{path}")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/operator/sign-in")


def test_whoever_has_a_key_with_the_scope_is_taken_to_the_page_that_was_wanted(stranger: Desk) -> None:
    location = stranger.get("/operator/ledger?merchant=demo").headers["Location"]
    _, hidden = stranger.page(location).forms[0]
    answer = stranger.send("/operator/sign-in", {**hidden, "key": OPERATOR_KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/operator/ledger?merchant=demo")
    assert "Trial balance" in stranger.page("/operator/ledger").text


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example/operator", "/operator/../v1", "/operator\\@evil", "/operatorx"]
)
def test_nobody_is_taken_elsewhere(stranger: Desk, wanted: str) -> None:
    _, hidden = stranger.page("/operator/sign-in").forms[0]
    answer = stranger.send("/operator/sign-in", {**hidden, "wanted": wanted, "key": OPERATOR_KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/operator")


@pytest.mark.parametrize("key", ["", "tdm_unknown", "tandem_" + "0" * 46, "x" * 5000, "ключ", "nul\x00"])
def test_a_key_that_is_not_known_opens_nothing(stranger: Desk, key: str) -> None:
    answer = stranger.sign_in(key)
    assert answer.status_code == 401
    assert "This key is not known." in Page(answer.text).text
    assert stranger.get("/operator").status_code == 303


def test_a_merchants_key_opens_nothing(stranger: Desk) -> None:
    answer = stranger.sign_in(KEY)
    assert answer.status_code == 403
    assert "operator:read" in answer.text
    assert stranger.get("/operator").status_code == 303


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_is_not_the_key(
    stranger: Desk, databases: Databases
) -> None:
    before = cookie_of(stranger.get("/operator/sign-in"))
    answer = stranger.sign_in()
    said = cookie_of(answer)
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/operator", "Max-Age=3600"):
        assert attribute in before
        assert attribute in said
    token = SimpleCookie(said)["tandem_operator"].value
    assert token != SimpleCookie(before)["tandem_operator"].value
    assert len(token) == 43
    assert OPERATOR_KEY not in said
    kept = databases.query("order", "SELECT row_to_json(s)::text AS row FROM operator_sessions s")
    assert kept
    assert not any(token in each["row"] or OPERATOR_KEY in each["row"] for each in kept)


def test_each_sign_in_has_a_session_of_its_own_and_ends_the_one_before(desk: Desk, admin_url: str) -> None:
    other = Desk(admin_url)
    other.sign_in()
    first = desk.session.cookies["tandem_operator"]
    _, hidden = desk.page("/operator/pending").forms[0]
    desk.send("/operator/sign-in", {**hidden, "key": OPERATOR_KEY})
    assert desk.session.cookies["tandem_operator"] not in (first, other.session.cookies["tandem_operator"])
    old = requests.get(f"{admin_url}/operator", cookies={"tandem_operator": first}, allow_redirects=False, timeout=10)
    assert old.status_code == 303
    assert other.get("/operator").status_code == 200


def test_signing_out_ends_the_session_for_ever(desk: Desk, admin_url: str) -> None:
    token = desk.session.cookies["tandem_operator"]
    assert desk.press("/operator", "/operator/sign-out").status_code == 303
    assert desk.get("/operator").status_code == 303
    stolen = requests.get(
        f"{admin_url}/operator", cookies={"tandem_operator": token}, allow_redirects=False, timeout=10
    )
    assert stolen.status_code == 303


def test_a_session_is_over_after_its_time(desk: Desk, databases: Databases) -> None:
    databases.query("order", "UPDATE operator_sessions SET expires_at = now() - interval '1 second'")
    assert desk.get("/operator").status_code == 303
    refused = desk.send("/operator/provider", {"token": "", "decline": "on"})
    assert refused.status_code == 403
    desk.sign_in()
    assert databases.query("order", "SELECT FROM operator_sessions WHERE expires_at < now()") == []


def test_a_key_of_the_database_opens_it_and_ends_its_sessions_when_it_is_revoked(
    pair: Pair, databases: Databases, desk_of: Callable[..., Desk]
) -> None:
    desk = desk_of(KEY_CACHE_SECONDS="0.2")
    assert desk.sign_in(create_key(pair, "operator:read")).status_code == 303
    assert "night shift" in desk.page("/operator").text
    databases.query("order", "UPDATE api_keys SET revoked_at = now()")
    eventually(lambda: desk.get("/operator").status_code == 303, "the session is over", 5)


def test_failures_count_against_the_address_as_those_of_requests_do(
    databases: Databases, desk_of: Callable[..., Desk]
) -> None:
    databases.query("order", "TRUNCATE rate_limits")
    desk = desk_of(RATE_LIMIT_UNAUTHENTICATED="3/hour")
    assert [desk.sign_in("tdm_a_guess").status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = desk.sign_in("tdm_a_guess")
    assert int(refused.headers["Retry-After"]) > 60
    assert "The quota is used up" in Page(refused.text).text
    assert desk.sign_in().status_code == 303


def test_an_access_mode_without_keys_opens_no_page(databases: Databases, desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(AUTH_MODE="off")
    assert desk.get("/operator").status_code == 303
    assert desk.sign_in().status_code == 303
    assert desk.get("/operator").status_code == 200


def test_health_and_metrics_need_no_key_and_are_not_the_pages(stranger: Desk, pair: Pair) -> None:
    assert pair.order.post("/v1/orders", ORDER).status_code == 201
    for path in ("/livez", "/readyz", "/metrics"):
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
    for path in ("/operatorx", "/OPERATOR", "/", "/sign-in"):
        assert stranger.get(path).status_code == 404
        assert stranger.get(path).headers["Content-Type"] == "application/problem+json"
