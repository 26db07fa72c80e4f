"""Which tokens are valid. How keys are fetched is tested in tests/integration/chassis/auth/test_tokens.py."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis.auth.tokens import LEEWAY, Policy, Tokens, parse
from chassis.http.problems import Problem

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(65537, 2048)
ISSUER, AUDIENCE = "https://issuer.example", "tandem"


def jwk(private: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(private, rsa.RSAPrivateKey) else "ES256")
    public = json.loads(algorithm.to_jwk(private.public_key()))
    return {**public, **({"kid": kid} if kid else {}), **more}


JWKS = {"keys": [jwk(RSA, "r1", alg="RS256", use="sig"), jwk(EC, "e1")]}


def policy(**changes: Any) -> Policy:
    fields = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ("RS256", "ES256"),
        "merchant_claim": "merchant",
        "jwks_url": "",
        "jwks": json.dumps(JWKS),
    }
    return Policy(**{**fields, **changes})


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + 86_400,  # parameters are made when tests are collected, and used much later
        "iat": now,
        "sub": "shop-1",
        "merchant": "demo",
        "scope": "openid orders:read orders:write",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r1", typ: str = "at+jwt", **changes: Any) -> str:
    headers = {"kid": kid, "typ": typ} if kid else {"typ": typ}
    return jwt.encode(claims(**changes), key, algorithm, headers)


def by_hand(header: dict[str, Any], body: dict[str, Any], secret: bytes = b"") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body)]
    signed = b".".join(parts)
    mac = hmac.new(secret, signed, hashlib.sha256).digest() if secret else b""
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def rejected(presented: str, **changes: Any) -> str:
    with pytest.raises(Problem) as caught:
        Tokens(policy(**changes), 5.0).verify(presented)
    problem = caught.value
    assert problem.name == "unauthorized"
    challenge = problem.headers["WWW-Authenticate"]
    prefix = 'Bearer error="invalid_token", error_description="'
    assert challenge.startswith(prefix)
    return challenge.removeprefix(prefix).rstrip('"')


@pytest.mark.parametrize(
    "good",
    [
        token(),
        token(EC, "ES256", "e1"),
        token(typ="JWT"),
        token(typ="application/at+JWT"),
        token(aud=["other", AUDIENCE]),
        token(iat=None, nbf=int(time.time())),
        token(scope=None, scp=["orders:read", "orders:write"]),
        token(scope=None, scp="orders:read orders:write"),
        token(scope=None, scopes=["orders:read", "orders:write", 1]),
    ],
)
def test_a_valid_token_has_its_merchant_and_scopes(good: str) -> None:
    found = Tokens(policy(), 5.0).verify(good)
    assert (found.merchant, found.id) == ("demo", "sub shop-1")
    assert found.scopes - {"openid"} == {"orders:read", "orders:write"}


@pytest.mark.parametrize("scopes", [{"scope": None}, {"scope": ""}, {"scope": 7}, {"scope": [7]}])
def test_a_token_without_scopes_has_no_scope(scopes: dict[str, Any]) -> None:
    assert Tokens(policy(), 5.0).verify(token(**scopes)).scopes == frozenset()


def test_the_merchant_may_be_in_another_claim() -> None:
    found = Tokens(policy(merchant_claim="https://tandem/m"), 5.0).verify(token(**{"https://tandem/m": "other"}))
    assert found.merchant == "other"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (token(exp=NOW - LEEWAY - 5), "The token has expired"),
        (token(exp=None), "The token must have iss, aud and exp"),
        (token(iss=None), "The token must have iss, aud and exp"),
        (token(aud=None), "The token must have iss, aud and exp"),
        (token(exp="soon"), "The token is not valid"),
        (token(nbf=NOW + 43_200), "The token is not valid yet"),
        (token(iat=NOW + 43_200), "The token is not valid yet"),
        (token(iss="https://other.example"), "The token has the wrong issuer"),
        (token(iss=ISSUER + "/"), "The token has the wrong issuer"),
        (token(aud="other"), "The token is for another audience"),
        (token(aud=[]), "The token must have iss, aud and exp"),
        (token(typ="logout+jwt"), "The token has the wrong type"),
        (token(merchant=None), "The token does not name a merchant"),
        (token(merchant="a b"), "The token does not name a merchant"),
        (token(merchant=["demo"]), "The token does not name a merchant"),
        (token(STRANGER), "The token is not valid"),
        (token(kid="r2"), "The token is not signed by a key of the issuer"),
        (token(kid=None), "The token is not signed by a key of the issuer"),
        (token(algorithm="RS512"), "The token is not valid"),
        (token(algorithm="PS256"), "The token is not valid"),
        (token(EC, "ES256", "r1"), "The token is not valid"),
        (token(kid="e1"), "The token is not valid"),
        (token()[:-4] + "AAAA", "The token is not valid"),
        ("a.b.c", "The token is not valid"),
        ("..", "The token is not valid"),
        (f"{'x' * 100_000}.y.z", "The token is not valid"),
        ("é.\udcff.x", "The token is not valid"),
    ],
)  # fmt: skip
def test_an_invalid_token_is_rejected_with_the_reason(bad: str, reason: str) -> None:
    assert rejected(bad) == reason


def signed(**raw: str) -> str:
    """A token of the issuer; `raw` are claims as JSON text, which may be any."""
    whole = {name: json.dumps(value) for name, value in claims().items()} | raw
    body = "{" + ",".join(f'"{name}":{value}' for name, value in whole.items()) + "}"
    return jwt.api_jws.encode(body.encode(), RSA, "RS256", {"kid": "r1", "typ": "at+jwt"})


@pytest.mark.adversarial
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["Infinity", "NaN", "1e999", "-1e999", "1" + "0" * 400, "[]", "{}", '"x"'])
def test_a_time_that_is_no_time_makes_a_token_invalid(name: str, value: str) -> None:
    assert rejected(signed(**{name: value})).startswith("The token is not valid")


@pytest.mark.adversarial
@pytest.mark.parametrize(
    "value", ['"9999999999"', '" 9999999999 "', '"9_999_999_999"', '"\uff19\uff19"', "true", "false"]
)
def test_a_time_that_python_can_read_as_a_number_makes_a_token_invalid(value: str) -> None:
    for name in ("nbf", "iat"):
        earlier = value.replace("9999999999", "1").replace("9_999_999_999", "1_0")
        assert rejected(signed(**{name: earlier})).startswith("The token is not valid")
    assert rejected(signed(exp=value)) in ("The token is not valid", "The token has expired")


@pytest.mark.adversarial
def test_a_token_that_names_a_key_of_its_own_is_verified_with_the_issuers_key() -> None:
    for header in (
        {"jwk": jwk(STRANGER, "r1")},
        {"jku": "http://127.0.0.1:9/jwks"},
        {"x5u": "http://127.0.0.1:9/cert"},
        {"x5c": ["AAAA"]},
    ):
        both = {"kid": "r1", "typ": "at+jwt", **header}
        assert rejected(jwt.encode(claims(), STRANGER, "RS256", both)) == "The token is not valid"
        assert Tokens(policy(), 5.0).verify(jwt.encode(claims(), RSA, "RS256", both)).merchant == "demo"


@pytest.mark.adversarial
def test_many_keys_that_are_no_keys_are_left_out_in_bounded_time(capsys: pytest.CaptureFixture[str]) -> None:
    nonsense = [{"kty": "RSA", "kid": f"k{number}"} for number in range(6_000)]  # nearly the largest JWKS that is read
    huge = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "_" * 30_000}
    text = json.dumps({"keys": [*nonsense, huge, *JWKS["keys"]]})
    began = time.process_time()
    found = parse(text, ("RS256", "ES256"))
    assert time.process_time() - began < 1
    assert {"r1", "e1"} <= set(found)
    assert capsys.readouterr().out.count("left_out") <= 1


@pytest.mark.adversarial
def test_the_name_of_a_tokens_holder_can_be_logged_whatever_it_is() -> None:
    for subject in ('"a\\nb\\u0000"', '"\\ud800"', '"\\u2028"', '"' + "x" * 5000 + '"'):
        found = Tokens(policy(), 5.0).verify(signed(sub=subject))
        assert found.id is not None
        assert found.id.isprintable()
        assert len(found.id.encode()) < 300


def test_a_token_does_not_choose_how_it_is_verified() -> None:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    of_jwks = json.dumps(JWKS["keys"][0]).encode()
    header: dict[str, Any]
    for header in ({"alg": "none"}, {"alg": "None"}, {"alg": ""}, {}, {"alg": None}, {"alg": ["RS256"]}):
        assert rejected(by_hand({"kid": "r1", **header}, claims()))
    for secret in (public, public.strip(), of_jwks, b"x"):
        assert rejected(by_hand({"alg": "HS256", "kid": "r1", "typ": "JWT"}, claims(), secret))
    for header in ({"kid": ["r1"]}, {"kid": 1}, {"jwk": JWKS["keys"][0]}, {"jku": "https://evil.example"}):
        assert rejected(by_hand({"alg": "HS256", **header}, claims(), public))
    critical = jwt.encode(claims(), RSA, "RS256", {"kid": "r1", "crit": ["else"], "else": 1})
    assert rejected(critical)


def test_only_keys_for_an_allowed_algorithm_are_used() -> None:
    shared = {"kty": "oct", "kid": "o1", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "alg": "HS256"}
    for_encryption = jwk(STRANGER, "enc", use="enc")
    nonsense: list[Any] = [1, None, {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": "AQAB"}, {"kty": "magic"}]
    taken = parse(json.dumps({"keys": [shared, for_encryption, *nonsense, *JWKS["keys"]]}), ("RS256", "HS256", "ES256"))
    assert set(taken) == {"r1", "e1"}
    assert set(parse(json.dumps(JWKS), ("ES256",))) == {"e1"}
    assert rejected(token(), algorithms=("ES256",)) == "The token is not signed by a key of the issuer"


@pytest.mark.parametrize("turned", [False, True])
def test_keys_for_different_algorithms_may_have_the_same_id(turned: bool) -> None:
    keys = [jwk(RSA, "k1", alg="RS256"), jwk(EC, "k1"), jwk(RSA, "k2", alg="RS512"), jwk(RSA, "k2", alg="PS256")]
    jwks = json.dumps({"keys": keys[::-1] if turned else keys})
    both = Tokens(policy(jwks=jwks, algorithms=("RS256", "ES256", "RS512", "PS256")), 5.0)
    for good in (
        token(RSA, "RS256", "k1"),
        token(EC, "ES256", "k1"),
        token(RSA, "RS512", "k2"),
        token(RSA, "PS256", "k2"),
    ):
        assert both.verify(good).merchant == "demo"
    for bad in (token(RSA, "RS512", "k1"), token(RSA, "RS256", "k2"), token(STRANGER, "RS256", "k1")):
        with pytest.raises(Problem, match="The token is not valid"):
            both.verify(bad)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RSA-OAEP", "", 1, [], {}, {"RS256": 1}])
def test_a_key_for_another_algorithm_takes_nothing_from_the_others(algorithm: Any) -> None:
    other = jwk(STRANGER, "other", alg=algorithm)
    assert set(parse(json.dumps({"keys": [other, *JWKS["keys"]]}), ("RS256", "ES256"))) == {"r1", "e1"}


@pytest.mark.adversarial
@pytest.mark.parametrize(("private", "algorithm", "kid"), [(RSA, "RS256", "r1"), (EC, "ES256", "e1")])
def test_a_private_key_that_is_published_verifies_nothing(private: Any, algorithm: str, kid: str) -> None:
    published = {**json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(private)), "kid": kid}
    with pytest.raises(ValueError, match="no public key"):
        parse(json.dumps({"keys": [published]}), ("RS256", "ES256"))
    jwks = json.dumps({"keys": [published, jwk(STRANGER, "s1")]})
    assert rejected(token(private, algorithm, kid), jwks=jwks) == "The token is not signed by a key of the issuer"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 100_000, '{"keys": []}', '{"keys": 1}', '{"keys": [{"kty": "oct"}]}']
)
def test_a_jwks_without_usable_keys_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not|has no"):
        parse(text, ("RS256",))


def test_a_valid_token_is_cached_but_not_past_its_expiry() -> None:
    clock = [0.0]
    tokens = Tokens(policy(), 5.0, clock=lambda: clock[0])
    lasting, ending = token(), token(exp=int(time.time() - LEEWAY) + 2)
    for each in (lasting, ending):
        tokens.verify(each)
    tokens._find = lambda kid: None  # the issuer has no keys any more
    assert tokens.verify(lasting).merchant == "demo"
    assert tokens.verify(ending).merchant == "demo"
    clock[0] = 4.0
    assert tokens.verify(lasting).merchant == "demo"
    for later, gone in ((4.0, ending), (5.0, lasting)):
        clock[0] = later
        with pytest.raises(Problem):
            tokens.verify(gone)
