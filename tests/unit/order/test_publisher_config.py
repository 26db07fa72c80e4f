"""The publisher's settings: wrong ones are named, and passwords are not quoted."""

from __future__ import annotations

import pytest

from chassis import config
from order.publisher.config import Settings, load


def read(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load(config.reader())


def test_without_a_url_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings.servers == ()
    assert (settings.stream, settings.replicas, settings.source) == ("TANDEM", 1, "/tandem/order")


def test_several_servers_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, EVENTS_URL="tls://me:pa55word@a:4222, tls://b/")
    assert settings.servers == ("tls://me:pa55word@a:4222", "tls://b/")
    assert "pa55word" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENTS_URL", "http://me:pa55word@nats:4222"),
        ("EVENTS_URL", "nats://me:pa55word@"),
        ("EVENTS_URL", "nats://me:pa55word@nats:port"),
        ("EVENTS_URL", "nats://me:pa55word@nats:99999"),
        ("EVENTS_URL", "nats://me:pa55word@[::1"),
        ("EVENTS_URL", "nats://nats/pa55word"),
        ("EVENTS_URL", "nats://a,tls://me:pa55word@b"),
        ("EVENTS_URL", "kafka://me:pa55word@kafka:9092"),
        ("EVENTS_STREAM", "shop.events"),
        ("EVENTS_STREAM", "a" * 65),
        ("EVENTS_SOURCE", "a b"),
        ("EVENTS_REPLICAS", "0"),
        ("EVENTS_TIMEOUT", "0"),
        ("EVENTS_CREDENTIALS", "pa55word"),
        ("EVENTS_CLIENT_CERTIFICATE", "-----BEGIN CERTIFICATE-----"),
        ("EVENTS_CLIENT_KEY", "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_wrong_setting_is_named_and_no_password_is_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(config.ConfigError) as raised:
        read(monkeypatch, **{name: value})
    assert name in str(raised.value)
    assert "pa55word" not in str(raised.value)
