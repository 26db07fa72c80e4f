"""Forms are accepted only from this site, with the session's token, and with the scope to act."""

from __future__ import annotations

import socket

import pytest

from chassis.auth.rate_limits import Limit
from order.operator import admission
from tests.support.operator_client import Desk
from tests.support.pair import Client, Pair
from tests.support.raw_http import connect, receive
from tests.support.settings import LOOKING_KEY

ACTIONS = {
    "/operator/provider": {"decline": "on"},
    "/operator/dead-letters": {"all": "yes"},
    "/operator/outbox/0195a3f0-aaaa-7e11-8d40-1f6d1c8e5a72/retry": {},
    "/operator/again/send": {"merchant": "demo", "target": "0195a3f0-aaaa-7e11-8d40-1f6d1c8e5a72"},
}
FORMS = {**ACTIONS, "/operator/sign-out": {}}


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fast machine these tests send more forms in a minute than one address may."""
    monkeypatch.setattr(admission, "FORMS", (Limit("minute", 10_000, 60),))


def faults(pair: Pair) -> list[dict[str, object]]:
    return pair.databases.query("payment", "SELECT decline FROM simulator.faults WHERE decline")


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1:1", "http://127.0.0.1"])
def test_a_form_from_another_site_is_refused(operator: Desk, pair: Pair, path: str, origin: str) -> None:
    answer = operator.send(path, {"token": operator.token, **FORMS[path]}, Origin=origin)
    assert answer.status_code == 403
    assert operator.get("/operator").status_code == 200
    assert faults(pair) == []


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[", "[", "http://a:b:c", "http://\xa0", "%", "\x7f"])
def test_a_malformed_origin_is_refused(operator: Desk, anonymous: Desk, origin: str) -> None:
    encoded = origin.encode("latin-1")
    for desk, path in ((operator, "/operator/provider"), (anonymous, "/operator/sign-in")):
        sent = desk.session.post(
            desk.url + path, data={"token": ""}, headers={"Origin": encoded}, allow_redirects=False, timeout=30
        )
        assert sent.status_code == 403


@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_the_sessions_token_is_refused(operator: Desk, admin_url: str, pair: Pair, path: str) -> None:
    other = Desk(admin_url)
    other.sign_in()
    for token in ("", "0" * 64, "é", other.token):
        assert operator.send(path, {"token": token, **FORMS[path]}).status_code == 403
    assert operator.send(path, FORMS[path]).status_code == 403
    assert operator.get("/operator").status_code == 200
    assert faults(pair) == []


def test_the_sign_in_form_is_protected_like_any_other(anonymous: Desk) -> None:
    _, hidden = anonymous.page("/operator/sign-in").forms[0]
    fields = {**hidden, "key": "tdm_operator"}
    assert anonymous.send("/operator/sign-in", fields, Origin="https://evil.example").status_code == 403
    assert anonymous.send("/operator/sign-in", {**fields, "token": "0" * 64}).status_code == 403
    assert anonymous.get("/operator").status_code == 303
    assert anonymous.send("/operator/sign-in", fields).status_code == 303


@pytest.mark.parametrize("path", ACTIONS)
def test_an_operator_without_the_write_scope_cannot_act(anonymous: Desk, pair: Pair, path: str) -> None:
    anonymous.sign_in(LOOKING_KEY)
    answer = anonymous.send(path, {"token": anonymous.token, **ACTIONS[path]})
    assert answer.status_code == 403
    assert "operator:write" in answer.text
    assert faults(pair) == []


def test_an_operator_without_the_write_scope_sees_only_the_sign_out_button(anonymous: Desk) -> None:
    anonymous.sign_in(LOOKING_KEY)
    for path in ("", "/pending", "/dead-letters", "/ledger", "/provider", "/audit"):
        assert [action for action, _ in anonymous.page(f"/operator{path}").forms] == ["/operator/sign-out"]
    assert anonymous.press("/operator", "/operator/sign-out").status_code == 303


@pytest.mark.parametrize("path", [path for path in FORMS if "outbox" in path or "sign-out" in path])
def test_a_get_request_does_not_act(operator: Desk, path: str) -> None:
    refused = operator.get(path)
    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert operator.get("/operator").status_code == 200


def test_a_link_cannot_say_that_something_was_done(operator: Desk, anonymous: Desk) -> None:
    anonymous.sign_in()
    sent = anonymous.press("/operator/provider", "/operator/provider", off="yes").headers["Location"]
    assert 'role="status"' in anonymous.page(sent).html
    proof = sent.partition("?")[2]
    for link in (
        sent,  # another session
        f"/operator?{proof}",
        "/operator?done=refund",
        "/operator?done=refund&proof=",
        "/operator?done=refund&proof=%C3%BC",
    ):
        assert 'role="status"' not in operator.page(link).html, link
    for link in (f"/operator?{proof}", sent.replace("done=switched", "done=refund")):
        assert 'role="status"' not in anonymous.page(link).html, link


@pytest.mark.parametrize("path", ["", "/provider", "/sign-in", "/sign-out", "/dead-letters", "/again/enable"])
def test_options_lists_the_methods_without_a_session(anonymous: Desk, path: str) -> None:
    answer = anonymous.session.options(f"{anonymous.url}/operator{path}", timeout=30)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "OPTIONS" in answer.headers["Allow"].split(", ")


def test_a_form_that_is_too_large_is_refused(operator: Desk) -> None:
    assert operator.send("/operator/provider", {"token": "0" * 20_000}).status_code == 413


def test_a_form_must_say_how_long_it_is_and_arrive_whole(operator: Desk) -> None:
    client = Client(operator.url)
    sent = "POST /operator/provider HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\ntoken="
    for line, status in (
        ("Transfer-Encoding: chunked", 411),
        ("Content-Length: x", 400),
        ("Content-Length: 9999999999999999999999", 413),
        ("Content-Length: 900", 400),
    ):
        with connect(client) as connection:
            connection.sendall(sent.format(line).encode())
            connection.shutdown(socket.SHUT_WR)
            assert receive(connection)[0] == status
