"""The provider that the settings name, and its settings."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from environs import EnvError

from chassis.config import ConfigError
from payment import config, providers
from payment.providers.simulator import Simulator
from payment.providers.stripe import Stripe


def load(**variables: str) -> config.Settings:
    database = {"DATABASE_URL": "postgresql://nobody@localhost/nothing"}
    with mock.patch.dict(os.environ, {**database, **variables}, clear=True):
        return config.load()


def test_the_simulator_is_the_default() -> None:
    assert isinstance(providers.load(load()), Simulator)


def test_stripe_needs_an_api_key_and_has_stripes_url_by_default() -> None:
    with pytest.raises(ConfigError, match="STRIPE_API_KEY"):
        load(PROVIDER="stripe")
    settings = load(PROVIDER="stripe", STRIPE_API_KEY="sk_test_1")
    assert (settings.stripe_api_base, settings.provider_timeout) == ("https://api.stripe.com", 10.0)
    provider = providers.load(settings)
    assert isinstance(provider, Stripe)
    assert isinstance(provider, providers.EventSender)


def test_secrets_can_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk_test_from_a_file\n")
    (tmp_path / "secrets").write_text("whsec_new whsec_old\n")
    settings = load(
        PROVIDER="stripe",
        STRIPE_API_KEY_FILE=str(tmp_path / "key"),
        STRIPE_WEBHOOK_SECRETS_FILE=str(tmp_path / "secrets"),
    )
    assert settings.stripe_api_key == "sk_test_from_a_file"
    assert settings.stripe_webhook_secrets == ("whsec_new", "whsec_old")
    assert "sk_test" not in repr(settings)
    assert "whsec" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROVIDER", "bank"), ("PROVIDER_TIMEOUT", "0"), ("PROVIDER_TIMEOUT", "soon"), ("STRIPE_API_BASE", "stripe")],
)
def test_the_error_for_an_invalid_value_names_the_variable(name: str, value: str) -> None:
    with pytest.raises((ConfigError, EnvError), match=name):
        load(**{"STRIPE_API_KEY": "sk_test_1", name: value})
