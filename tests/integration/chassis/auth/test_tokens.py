"""Access tokens at both services, with an issuer that rotates its keys, is slow, or is down."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from chassis.auth import tokens
from chassis.auth.tokens import LEEWAY, MAX_AGE, PLACES, REFRESH_AGE, RETRY_INTERVAL, UNKNOWN_KEY_INTERVAL, KeySet
from chassis.http.problems import Problem
from ci import ROOT
from tests.support.applications import SERVICES, get, make, refused
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.settings import KEY
from tests.support.token_issuer import Issuer

ES256 = ("ES256",)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(params=SERVICES)
def app(request: pytest.FixtureRequest, databases: Databases, issuer: Issuer) -> Flask:
    return make(databases, request.param, **issuer.settings())


def challenge(app: Flask, token: str) -> str:
    response = get(app, token)
    refused(response, 401, "unauthorized")
    return response.headers["WWW-Authenticate"]


def test_a_token_works_like_a_key(app: Flask, issuer: Issuer) -> None:
    good = issuer.token(scope=f"{app.name}s:read")
    refused(get(app, good), 404, f"{app.name}-not-found")
    refused(get(app, KEY), 404, f"{app.name}-not-found")
    refused(get(app, good, Tandem_Merchant="other"), 403, "forbidden")
    for each in range(5):
        refused(get(app, issuer.token(scope=f"{app.name}s:read", sub=str(each))), 404, f"{app.name}-not-found")
    assert issuer.fetches == 1


@pytest.mark.adversarial
def test_a_token_for_any_merchant_acts_for_its_own_one_only(app: Flask, issuer: Issuer) -> None:
    for claims in ({"scope": f"{app.name}s:read merchants:any"}, {"scp": [f"{app.name}s:read", "merchants:any"]}):
        token = issuer.token(**claims)
        refused(get(app, token, Tandem_Merchant="other"), 403, "forbidden")
        refused(get(app, token), 404, f"{app.name}-not-found")


def test_a_setting_allows_tokens_for_any_merchant(databases: Databases, issuer: Issuer, app: Flask) -> None:
    app = make(databases, app.name, **issuer.settings(), JWT_ALLOW_ANY_MERCHANT="true")
    good = issuer.token(scope=f"{app.name}s:read merchants:any")
    refused(get(app, good, Tandem_Merchant="other"), 404, f"{app.name}-not-found")
    refused(get(app, good, Tandem_Merchant="a b"), 403, "forbidden")


@pytest.mark.parametrize("scope", ["", "openid", "orders:read2 payments:write"])
def test_a_token_without_the_scope_is_403_and_the_scope_is_named(app: Flask, issuer: Issuer, scope: str) -> None:
    response = get(app, issuer.token(scope=scope))
    refused(response, 403, "forbidden")
    assert response.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{app.name}s:read"'


def test_an_invalid_token_is_401_with_the_reason(app: Flask, issuer: Issuer) -> None:
    for wrong, reason in (
        ({"exp": int(time.time() - LEEWAY - 5)}, "The token has expired"),
        ({"iss": "https://other.example"}, "The token has the wrong issuer"),
        ({"aud": "other"}, "The token is for another audience"),
        ({"merchant": None}, "The token does not name a merchant"),
    ):
        found = challenge(app, issuer.token(**wrong))
        assert found == f'Bearer error="invalid_token", error_description="{reason}"'
    assert challenge(app, "a.b.c") == 'Bearer error="invalid_token", error_description="The token is not valid"'


def test_without_a_token_policy_tokens_are_unknown_keys(databases: Databases, issuer: Issuer) -> None:
    app = make(databases, "order")
    assert challenge(app, issuer.token(scope="orders:read")) == 'Bearer error="invalid_token"'
    assert issuer.fetches == 0


def test_the_jwks_may_be_in_a_file(databases: Databases, issuer: Issuer, tmp_path: Path) -> None:
    mounted = tmp_path / "jwks"
    mounted.write_bytes(issuer.body)
    settings = {**issuer.settings(), "JWT_JWKS_URL": "", "JWT_JWKS_FILE": str(mounted)}
    app = make(databases, "order", **settings)
    refused(get(app, issuer.token(scope="orders:read")), 404, "order-not-found")
    issuer.publish("k2")
    assert "not signed by a key of the issuer" in challenge(app, issuer.token("k2"))
    assert issuer.fetches == 0


def test_tokens_are_503_until_the_issuer_responds_and_keys_work(app: Flask, issuer: Issuer) -> None:
    issuer.status = 500
    good = issuer.token(scope=f"{app.name}s:read")
    response = get(app, good)
    refused(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert "WWW-Authenticate" not in response.headers
    refused(get(app, KEY), 404, f"{app.name}-not-found")
    issuer.status = 200
    eventually(lambda: get(app, good).status_code == 404, "the keys are fetched again after a while")


def test_tokens_are_503_while_the_file_of_authorities_is_missing(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    with Issuer() as issuer:
        app = make(databases, "order", **{**issuer.settings(), "JWT_JWKS_URL": "https://127.0.0.1:1/jwks"})
        for _ in range(3):
            refused(get(app, issuer.token()), 503, "unavailable")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_fetched_on_first_use_and_unknown_keys_cause_few_fetches(issuer: Issuer) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    assert known.find("k1") is not None
    issuer.publish("k1", "k2")
    assert known.find("k2") is None, "the keys were fetched just now"
    clock.now += UNKNOWN_KEY_INTERVAL
    assert known.find("k2") is not None
    assert issuer.fetches == 2
    for guess in range(100):
        assert known.find(f"guess-{guess}") is None
    assert issuer.fetches == 2
    clock.now += UNKNOWN_KEY_INTERVAL
    for guess in range(100):
        assert known.find(f"guess-{guess}") is None
    assert issuer.fetches == 3


def test_a_key_that_the_issuer_removed_is_no_longer_valid(issuer: Issuer) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    assert known.find("k1") is not None
    issuer.publish("k2")
    clock.now += REFRESH_AGE - 1
    assert known.find("k1") is not None
    assert issuer.fetches == 1
    clock.now += 1
    assert known.find("k1") is not None, "the request does not wait"
    eventually(lambda: known.find("k1") is None, "the keys are fetched again in the background")
    assert issuer.fetches == 2


@pytest.mark.adversarial
def test_a_key_that_the_issuer_removed_is_not_valid_once_more_after_a_quiet_time(issuer: Issuer) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    assert known.find("k1") is not None
    issuer.publish("k2")
    clock.now += MAX_AGE
    issuer.answering.clear()
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(known.find, "k1") for _ in range(4)]
        eventually(lambda: issuer.fetches == 2, "the keys are requested")
        issuer.answering.set()
        assert [each.result() for each in found] == [None] * 4
    assert issuer.fetches == 2


def test_the_last_keys_are_used_while_the_issuer_is_down(issuer: Issuer) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    assert known.find("k1") is not None
    issuer.status = 500
    for round_number in range(2, 5):
        clock.now += MAX_AGE
        assert known.find("k1") is not None
        eventually(lambda wanted=round_number: issuer.fetches == wanted, "the keys were requested")  # type: ignore[misc]
        # While a fetch is under way, no other one begins.
        eventually(lambda: not known._fetching.locked(), "the fetch has ended")
    eventually(lambda: known._failed and not known._fetching.locked(), "the last fetch has failed")
    for _ in range(20):
        with pytest.raises(Problem) as caught:  # it could be a new key
            known.find("k2")
        assert caught.value.name == "unavailable"
    assert issuer.fetches == 4
    issuer.status = 200
    issuer.publish("k1", "k2")
    clock.now += RETRY_INTERVAL
    assert known.find("k2") is not None


def test_concurrent_requests_fetch_the_keys_once(issuer: Issuer) -> None:
    known = KeySet(issuer.url, ES256)
    issuer.answering.clear()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(known.find, "k1") for _ in range(8)]
        eventually(lambda: issuer.fetches, "the keys are requested")
        issuer.answering.set()
        assert all(each.result() is not None for each in found)
    assert issuer.fetches == 1


@pytest.mark.adversarial
def test_unknown_keys_do_not_occupy_all_threads_while_the_issuer_is_slow(issuer: Issuer) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    assert known.find("k1") is not None
    clock.now += UNKNOWN_KEY_INTERVAL
    issuer.answering.clear()
    with ThreadPoolExecutor(12) as pool:
        guesses = [pool.submit(known.find, f"guess-{number}") for number in range(12)]
        eventually(lambda: sum(guess.done() for guess in guesses) == 12 - PLACES, "few requests wait for the keys")
        assert known.find("k1") is not None
        issuer.answering.set()
        problems = [guess.exception() for guess in guesses]
    assert [getattr(problem, "name", None) for problem in problems].count("unavailable") == 12 - PLACES
    assert problems.count(None) == PLACES, "the issuer has no such keys"
    assert issuer.fetches == 2


def test_an_issuer_that_hangs_delays_requests_for_a_short_time_only(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT", 0.1)
    known = KeySet(issuer.url, ES256)
    issuer.answering.clear()
    first = threading.Thread(target=lambda: pytest.raises(Problem, known.find, "k1"))
    first.start()
    eventually(lambda: issuer.fetches, "the keys are requested")
    with pytest.raises(Problem) as caught:
        known.find("k1")
    assert caught.value.name == "unavailable"
    first.join(5)
    assert not first.is_alive()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, None), (302, None), (204, b""), (200, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": []}'),
     (200, b'{"keys": [{"kty": "EC", "kid": "k1"}]}'), (200, b" " * 300_000)],
)  # fmt: skip
def test_a_malformed_jwks_does_not_replace_the_keys(issuer: Issuer, status: int, body: bytes | None) -> None:
    clock = Clock()
    known = KeySet(issuer.url, ES256, clock)
    good = issuer.body
    issuer.status, issuer.body = status, good if body is None else body + good if body.isspace() else body
    with pytest.raises(Problem) as caught:
        known.find("k1")
    assert caught.value.name == "unavailable"
    issuer.status, issuer.body = 200, good
    clock.now += RETRY_INTERVAL
    assert known.find("k1") is not None
    assert issuer.fetches == 2


def test_pyjwt_and_alembic_are_not_imported_by_default(databases: Databases) -> None:
    program = (
        "import order, payment, sys; order.create_app(); payment.create_app();"
        "print([name for name in ('jwt', 'cryptography', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "apps"), "DATABASE_URL": databases.order},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr
