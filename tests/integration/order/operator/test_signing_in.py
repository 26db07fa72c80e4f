"""Signing in needs an API key with the scope. A session lasts one hour, and not longer than its key is valid."""

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
    """Return the Set-Cookie header of a response."""
    return answer.headers["Set-Cookie"]


def create_key(pair: Pair, *scopes: str, name: str = "night shift") -> str:
    result = pair.order_app.test_cli_runner().invoke(
        args=["keys", "create", "--merchant=ops", f"--name={name}", *(f"--scope={scope}" for scope in scopes)]
    )
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_redirects_to_sign_in_without_a_session(anonymous: Desk, path: str) -> None:
    answer = anonymous.get(f"/operator{path}")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/operator/sign-in")


@pytest.mark.parametrize(
    "wanted",
    ["/operator/ledger?merchant=demo", "/operator?customer=Jane+Doe*&merchant=demo", "/operator?reference=A..1"],
)
def test_signing_in_leads_to_the_requested_page(anonymous: Desk, wanted: str) -> None:
    location = anonymous.get(wanted).headers["Location"]
    _, hidden = anonymous.page(location).forms[0]
    answer = anonymous.send("/operator/sign-in", {**hidden, "key": OPERATOR_KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, wanted)
    assert anonymous.get(location).headers["Location"] == wanted, "another tab is signed in, too"
    assert "Trial balance" in anonymous.page("/operator/ledger").text


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/operator",
        "/operator/../v1",
        "/operator/%2e%2E/v1",
        "/operator/.%2e//evil",
        "/operator\\@evil",
        "/operatorx",
    ],
)
def test_signing_in_never_leads_to_another_site(anonymous: Desk, wanted: str) -> None:
    _, hidden = anonymous.page("/operator/sign-in").forms[0]
    answer = anonymous.send("/operator/sign-in", {**hidden, "wanted": wanted, "key": OPERATOR_KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/operator")


@pytest.mark.parametrize("key", ["", "tdm_unknown", "tandem_" + "0" * 46, "x" * 5000, "ключ", "nul\x00"])
def test_an_unknown_key_is_refused(anonymous: Desk, key: str) -> None:
    answer = anonymous.sign_in(key)
    assert answer.status_code == 401
    assert "Unknown API key." in Page(answer.text).text
    assert anonymous.get("/operator").status_code == 303


def test_a_key_without_the_scope_is_refused(anonymous: Desk) -> None:
    answer = anonymous.sign_in(KEY)
    assert answer.status_code == 403
    assert "operator:read" in answer.text
    assert anonymous.get("/operator").status_code == 303


def test_the_cookie_is_protected_and_neither_cookie_nor_database_has_the_key(
    anonymous: Desk, databases: Databases
) -> None:
    before = cookie_of(anonymous.get("/operator/sign-in"))
    answer = anonymous.sign_in()
    after = cookie_of(answer)
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/operator", "Max-Age=3600"):
        assert attribute in before
        assert attribute in after
    token = SimpleCookie(after)["tandem_operator"].value
    assert token != SimpleCookie(before)["tandem_operator"].value
    assert len(token) == 43
    assert OPERATOR_KEY not in after
    rows = databases.query("order", "SELECT row_to_json(s)::text AS row FROM operator_sessions s")
    assert rows
    assert not any(token in each["row"] or OPERATOR_KEY in each["row"] for each in rows)


def test_each_sign_in_starts_a_session_and_ends_the_browsers_previous_one(operator: Desk, admin_url: str) -> None:
    other = Desk(admin_url)
    other.sign_in()
    first = operator.session.cookies["tandem_operator"]
    _, hidden = operator.page("/operator/pending").forms[0]
    operator.send("/operator/sign-in", {**hidden, "key": OPERATOR_KEY})
    assert operator.session.cookies["tandem_operator"] not in (first, other.session.cookies["tandem_operator"])
    old = requests.get(f"{admin_url}/operator", cookies={"tandem_operator": first}, allow_redirects=False, timeout=10)
    assert old.status_code == 303
    assert other.get("/operator").status_code == 200


def test_a_session_cannot_be_used_after_signing_out(operator: Desk, admin_url: str) -> None:
    token = operator.session.cookies["tandem_operator"]
    assert operator.press("/operator", "/operator/sign-out").status_code == 303
    assert operator.get("/operator").status_code == 303
    reused = requests.get(
        f"{admin_url}/operator", cookies={"tandem_operator": token}, allow_redirects=False, timeout=10
    )
    assert reused.status_code == 303


def test_an_expired_session_is_refused_and_deleted(operator: Desk, databases: Databases) -> None:
    databases.query("order", "UPDATE operator_sessions SET expires_at = now() - interval '1 second'")
    assert operator.get("/operator").status_code == 303
    refused = operator.send("/operator/provider", {"token": "", "decline": "on"})
    assert refused.status_code == 403
    operator.sign_in()
    assert databases.query("order", "SELECT FROM operator_sessions WHERE expires_at < now()") == []


def test_revoking_a_key_ends_its_sessions(pair: Pair, databases: Databases, browser_for: Callable[..., Desk]) -> None:
    operator = browser_for(KEY_CACHE_SECONDS="0.2")
    assert operator.sign_in(create_key(pair, "operator:read")).status_code == 303
    assert "night shift" in operator.page("/operator").text
    databases.query("order", "UPDATE api_keys SET revoked_at = now()")
    eventually(lambda: operator.get("/operator").status_code == 303, "the session has ended", 5)


def test_refused_sign_ins_are_rate_limited_by_address(databases: Databases, browser_for: Callable[..., Desk]) -> None:
    databases.query("order", "TRUNCATE rate_limits")
    operator = browser_for(RATE_LIMIT_UNAUTHENTICATED="3/hour")
    assert [operator.sign_in("tdm_a_guess").status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = operator.sign_in("tdm_a_guess")
    assert int(refused.headers["Retry-After"]) > 60
    assert "The quota is used up" in Page(refused.text).text
    assert operator.sign_in().status_code == 303


def test_the_page_needs_a_key_even_if_authentication_is_off(
    databases: Databases, browser_for: Callable[..., Desk]
) -> None:
    operator = browser_for(AUTH_MODE="off")
    assert operator.get("/operator").status_code == 303
    assert operator.sign_in().status_code == 303
    assert operator.get("/operator").status_code == 200


def test_probes_and_metrics_need_no_session(anonymous: Desk, pair: Pair) -> None:
    assert pair.order.post("/v1/orders", ORDER).status_code == 201
    for path in ("/livez", "/readyz", "/metrics"):
        answer = anonymous.get(path)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
    for path in ("/operatorx", "/OPERATOR", "/sign-in"):
        assert anonymous.get(path).status_code == 404
        assert anonymous.get(path).headers["Content-Type"] == "application/problem+json"
