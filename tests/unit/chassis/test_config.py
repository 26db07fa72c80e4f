"""An invalid setting stops a service at its start, and the message names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from environs import EnvError

import order.config
import payment.config
from chassis import config
from chassis.config import ConfigError

URL = "postgresql://nobody@localhost/nothing"
SECRET = "whsec_dGFuZGVtLXRlc3RzLXNpZ24td2l0aC10aGlzLWtleSE="
ANOTHER_SECRET = "whsec_bm90LXRoZS1zZWNyZXQtb2YtdGhlc2UtdGVzdHM="


def load(**variables: str) -> tuple[order.config.Settings, payment.config.Settings]:
    with mock.patch.dict(os.environ, {"DATABASE_URL": URL, **variables}, clear=True):
        return order.config.load(), payment.config.load()


def test_only_the_database_is_required() -> None:
    for settings in load():
        assert settings.database_url == URL
        assert not settings.auth_off
        assert settings.keyring.find("anything") is None
        assert settings.key_days == 30
        assert settings.key_cache_seconds == 5
        assert settings.jwt is None
        assert (settings.rate_limit, settings.rate_limit_unauthenticated, settings.trusted_proxies) == ((), (), 0)
    with mock.patch.dict(os.environ, {}, clear=True):
        for module in (order.config, payment.config):
            with pytest.raises(EnvError, match="DATABASE_URL"):
                module.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "staging"),
        ("AUTH_MODE", "on"),
        ("AUTH_MODE", "off"),
        ("API_KEYS", "[{]"),
        ("API_KEYS", '[{"key": "tdm_secret", "merchant": "a b", "scopes": []}]'),
        ("DEFAULT_CURRENCY", "eur"),
        ("DEFAULT_CURRENCY", "XAU"),
        ("RELAY_ADMIN_PORT", "9090.5"),
        ("LEASE_SECONDS", "long"),
        ("POLL_SECONDS", "1s"),
        ("RELAY_CONCURRENCY", "many"),
        ("IDEMPOTENCY_KEY_DAYS", "a month"),
        ("IDEMPOTENCY_KEY_DAYS", "0"),
        ("WEB_THREADS", "0"),
        ("RELAY_CONCURRENCY", "0"),
        ("RELAY_CONCURRENCY", "-1"),
        *(("LEASE_SECONDS", value) for value in ("0", "-1", "nan", "inf", "-inf", "1e999", "1e300")),
        *(("POLL_SECONDS", value) for value in ("0", "-0.5", "nan", "inf")),
        *(("KEY_CACHE_SECONDS", value) for value in ("0", "-1", "nan", "a while")),
        *(("RATE_LIMIT", value) for value in ("600", "600/week", "0/minute", "5/minute;6/minute")),
        ("RATE_LIMIT_UNAUTHENTICATED", "few"),
        ("TRUSTED_PROXIES", "-1"),
        *(
            ("PUBLIC_URL", url)
            for url in (
                *(
                    "api.shop.example",
                    "http://",
                    "http:///path",
                    "http://[::1",
                    "http://shop:port",
                    "http://shop:99999",
                ),
                *(
                    "http://shop:0",
                    "http://sh op",
                    "http://shop/?a=b",
                    "http://shop/#a",
                    "http://shop\u202e",
                    "ftp://shop",
                ),
                *("http://..", "http://shop..example", f"http://{'a' * 64}.example", f"http://{'ä' * 60}"),
            )
        ),
        *(
            (name, "http://me:tdm_secret@shop")
            for name in ("PUBLIC_URL", "PAYMENT_URL", "ORDER_URL", "STRIPE_API_BASE")
        ),
        *(("RELAY_ADMIN_PORT", port) for port in ("0", "-1", "65536", "9" * 5000)),
        ("IDEMPOTENCY_KEY_DAYS", "1000001"),
        ("CORS_ORIGINS", "shop.example"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("CORS_ORIGINS", "https://*.example"),
        ("CORS_ORIGINS", "https://a.example,null"),
        *(("CORS_ORIGINS", f"https://a.example:{port}") for port in ("0", "65536", "99999", "x", "")),
        ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ("LOG_LEVEL", "loud"),
        ("LOG_LEVEL", ""),
        ("DATABASE_URL", "mysql://nobody:a-password@localhost/nothing"),
        ("DATABASE_URL", "localhost:a-password"),
        ("DATABASE_URL", ""),
        ("API_KEYS", '[{"key": 12345678, "merchant": "demo", "scopes": []}]'),
        ("API_KEYS", '[{"key": "tdm_secret", "merchant": "demo", "scopes": [1]}]'),
        ("API_KEYS", "[" * 100_000),
        *(
            ("EVENTS_SECRETS", secret)
            for secret in (
                "whsec_",
                "whsec_dGFuZGVt",
                "dGFuZGVtLXRlc3RzLXNpZ24td2l0aC10aGlzLWtleSE=",
                "whsec_not base64 at all but long enough for one",
                f"{SECRET},{SECRET}",
                f"{SECRET} whsec_dGFuZGVt",
                f"x{SECRET}",
                f"{SECRET[:-1]}é",
            )
        ),
    ],
)
def test_an_invalid_value_is_rejected_and_its_variable_named(name: str, value: str) -> None:
    with pytest.raises((ConfigError, EnvError), match=name) as caught:
        load(**{name: value})
    for secret in ("tdm_secret", "a-password", SECRET.removeprefix("whsec_")):
        assert secret not in str(caught.value)


TOKENS = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "tandem", "JWT_JWKS_URL": "https://issuer.example/k"}


def test_tokens_are_configured_by_issuer_audience_and_keys() -> None:
    for settings in load(**TOKENS):
        assert settings.jwt is not None
        assert (settings.jwt.issuer, settings.jwt.audience) == ("https://issuer.example", "tandem")
        assert settings.jwt.algorithms == ("RS256", "ES256")
        assert settings.jwt.merchant_claim == "merchant"
    for settings in load(**TOKENS, JWT_ALGORITHMS=" PS256, EdDSA ", JWT_MERCHANT_CLAIM="tenant"):
        assert settings.jwt is not None
        assert (settings.jwt.algorithms, settings.jwt.merchant_claim) == (("PS256", "EdDSA"), "tenant")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(("JWT_ISSUER, JWT_AUDIENCE", {name: ""}) for name in TOKENS),
        ("JWT_ISSUER, JWT_AUDIENCE", {"JWT_JWKS": '{"keys": []}'}),
        *(("JWT_MERCHANT_CLAIM", {"JWT_MERCHANT_CLAIM": empty}) for empty in ("", " ")),
        *(
            ("JWT_ALGORITHMS", {"JWT_ALGORITHMS": value})
            for value in ("none", "HS256", "RS256,HS256", "RS256,none", ",", "rs256", "RS256 ES256")
        ),
        ("JWT_JWKS_URL", {"JWT_JWKS_URL": "file:///etc/passwd"}),
        ("JWT_JWKS_URL", {"JWT_JWKS_URL": "issuer.example"}),
        *(("JWT_JWKS: ", {"JWT_JWKS_URL": "", "JWT_JWKS": value}) for value in ("{", "{}", '{"keys": []}')),
    ],
)
def test_an_insecure_token_policy_is_rejected_at_the_start(name: str, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=name):
        load(**{**TOKENS, **changes})


def test_each_service_validates_its_own_settings_only() -> None:
    with mock.patch.dict(os.environ, {"DATABASE_URL": URL, "PAYMENT_TIMEOUT": "soon"}, clear=True):
        with pytest.raises(EnvError, match="PAYMENT_TIMEOUT"):
            order.config.load()
        payment.config.load()
    for name in ("PAYMENT_TIMEOUT", "SWEEP_SECONDS", "SWEEP_AUTHORIZED_SECONDS", "PAYMENT_URL"):
        for value in ("0", "-1", "nan", "inf"):
            with mock.patch.dict(os.environ, {"DATABASE_URL": URL, name: value}, clear=True):
                with pytest.raises((ConfigError, EnvError), match=name):
                    order.config.load()
                payment.config.load()
    for name in ("ORDER_TIMEOUT", "AUTHORIZATION_SECONDS", "PROVIDER_TIMEOUT", "ORDER_URL", "STRIPE_API_BASE"):
        for value in ("0", "-1", "nan", "inf"):
            with mock.patch.dict(os.environ, {"DATABASE_URL": URL, name: value}, clear=True):
                with pytest.raises((ConfigError, EnvError), match=name):
                    payment.config.load()
                order.config.load()
    with pytest.raises(ConfigError, match="STRIPE_API_KEY"):
        load(PROVIDER="stripe")
    with mock.patch.dict(os.environ, {"DATABASE_URL": URL, "PROVIDER": "bank"}, clear=True):
        with pytest.raises(ConfigError, match="PROVIDER=bank"):
            payment.config.load()
        order.config.load()


def test_authentication_can_be_off_in_development_only() -> None:
    assert all(settings.auth_off for settings in load(AUTH_MODE="off", ENVIRONMENT="development"))
    with pytest.raises(ConfigError, match="AUTH_MODE=off is refused when ENVIRONMENT=production"):
        load(AUTH_MODE="off", ENVIRONMENT="production")


def test_a_setting_may_come_from_a_file(tmp_path: Path) -> None:
    mounted = tmp_path / "keys"
    mounted.write_text('[{"key": "from-a-file", "merchant": "demo", "scopes": []}]\n')
    with mock.patch.dict(os.environ, {"DATABASE_URL": URL, "API_KEYS_FILE": str(mounted)}, clear=True):
        key = order.config.load().keyring.find("from-a-file")
    assert key is not None
    assert key.merchant == "demo"


def test_several_secrets_are_separated_by_spaces() -> None:
    both = (SECRET, ANOTHER_SECRET)
    assert [settings.events_secrets for settings in load(EVENTS_SECRETS=f"{SECRET}  {ANOTHER_SECRET}\n")] == [
        both,
        both,
    ]
    assert [settings.events_secrets for settings in load()] == [(), ()]


@pytest.mark.parametrize("padding", ["\n", "\r\n", " \n\n", "\t"])
def test_white_space_around_a_secret_is_stripped(padding: str) -> None:
    keys = '[{"key": "tdm_secret", "merchant": "demo", "scopes": []}]'
    orders, payments = load(
        PAYMENT_API_KEY="tdm_secret" + padding,
        STRIPE_API_KEY=padding + "sk_test_1" + padding,
        STRIPE_WEBHOOK_SECRETS=f"whsec_1{padding}whsec_2{padding}",
        EVENTS_SECRETS=f"{SECRET}{padding}",
        WEBHOOK_KEYS="k" * 32 + padding,
        API_KEYS=keys + padding,
        PAYMENT_URL="http://payment" + padding,
    )
    assert orders.payment_api_key == "tdm_secret"
    assert orders.payment_url == "http://payment"
    assert orders.webhooks.keys == ("k" * 32,)
    assert payments.stripe_api_key == "sk_test_1"
    assert payments.stripe_webhook_secrets == ("whsec_1", "whsec_2")
    assert orders.events_secrets == payments.events_secrets == (SECRET,)
    assert orders.keyring.find("tdm_secret") is not None


@pytest.mark.parametrize("name", ["PAYMENT_API_KEY", "STRIPE_API_KEY"])
@pytest.mark.parametrize("value", ["tdm_sec\nret", "tdm_sec ret", "tdm_sec\x7fret", "tdm_secr\u00e9t"])
def test_a_key_that_no_header_can_carry_is_refused_at_the_start_and_not_quoted(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        load(**{name: value})
    assert "sec" not in str(caught.value)


def test_a_database_url_with_a_line_break_is_refused_and_not_quoted() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        load(DATABASE_URL="postgresql://nobody:secret\n@localhost/nothing")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["", " ", "x" * 101, "pm_\x1bok", "4242 4242 4242 4242", "4242424242424242"])
@pytest.mark.parametrize("module", [order.config, payment.config])
def test_a_payment_method_that_no_request_may_hold_is_refused_at_the_start(module: Any, value: str) -> None:
    with (
        mock.patch.dict(os.environ, {"DATABASE_URL": URL, "DEFAULT_PAYMENT_METHOD": value}, clear=True),
        pytest.raises(ConfigError, match="DEFAULT_PAYMENT_METHOD") as caught,
    ):
        module.load()
    assert "4242" not in str(caught.value)


def test_settings_are_printed_without_secrets() -> None:
    for settings in load(
        DATABASE_URL="postgresql://nobody:tdm_secret@localhost/nothing",
        PAYMENT_API_KEY="tdm_secret",
        STRIPE_API_KEY="tdm_secret",
        STRIPE_WEBHOOK_SECRETS="tdm_secret",
        EVENTS_SECRETS=SECRET,
        WEBHOOK_KEYS="tdm_secret" * 4,
    ):
        assert "tdm_secret" not in repr(settings)
        assert SECRET not in repr(settings)


def test_the_url_for_migrations_is_optional_may_be_a_file_and_is_not_quoted(tmp_path: Path) -> None:
    mounted = tmp_path / "url"
    mounted.write_text("postgresql://owner:a-password@localhost/nothing\n")
    with mock.patch.dict(os.environ, {"DATABASE_URL": URL}, clear=True):
        assert config.migration_url() == ""
    with mock.patch.dict(os.environ, {"MIGRATION_DATABASE_URL_FILE": str(mounted)}, clear=True):
        assert config.migration_url() == "postgresql://owner:a-password@localhost/nothing"
    with (
        mock.patch.dict(
            os.environ, {"MIGRATION_DATABASE_URL": "mysql://owner:a-password@localhost/nothing"}, clear=True
        ),
        pytest.raises(ConfigError, match="MIGRATION_DATABASE_URL") as caught,
    ):
        config.migration_url()
    assert "a-password" not in str(caught.value)
