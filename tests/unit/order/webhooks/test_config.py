from __future__ import annotations

import os
from ipaddress import ip_network
from unittest import mock

import pytest
from environs import EnvError

from chassis import config
from chassis.config import ConfigError
from order.webhooks.config import Settings, load

KEY = "a key of these tests of 32 letters or more".replace(" ", "-")


def settings(**variables: str) -> Settings:
    with mock.patch.dict(os.environ, variables, clear=True):
        return load(config.reader())


def test_every_setting_has_a_default_and_no_private_network_is_allowed() -> None:
    assert settings() == Settings(
        allow_http=False,
        allowed_networks=(),
        concurrency=8,
        give_up=3 * 86400,
        keys=(),
        overlap=86400,
        retry=5,
        timeout=10,
    )


def test_networks_and_keys_are_lists() -> None:
    found = settings(WEBHOOK_ALLOWED_NETWORKS="10.1.0.0/16, fd00::/8", WEBHOOK_KEYS=f"{KEY}-1 {KEY}-2")
    assert found.allowed_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert found.keys == (f"{KEY}-1", f"{KEY}-2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_ALLOW_HTTP", "perhaps"),
        *(
            ("WEBHOOK_ALLOWED_NETWORKS", value)
            for value in ("10.1.2.3/8", "everything", "10.0.0.0/33", "10.0.0.0/8;::/0")
        ),
        ("WEBHOOK_CONCURRENCY", "0"),
        ("WEBHOOK_KEYS", "too-short"),
        ("WEBHOOK_KEYS", f"{KEY} too-short"),
        *(
            (f"WEBHOOK_{name}", value)
            for name in ("GIVE_UP_SECONDS", "OVERLAP_SECONDS", "RETRY_SECONDS", "TIMEOUT")
            for value in ("0", "-1", "nan", "inf", "soon")
        ),
    ],
)
def test_the_error_for_an_invalid_value_names_the_variable_and_no_key(name: str, value: str) -> None:
    with pytest.raises((ConfigError, EnvError), match=name) as caught:
        settings(**{name: value})
    assert KEY not in str(caught.value)
    assert "too-short" not in str(caught.value)
