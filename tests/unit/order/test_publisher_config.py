"""The publisher's settings: wrong ones are named, and passwords are not quoted."""

from __future__ import annotations

import pytest

from chassis import config
from order.publisher.config import Settings, load
from tests.support.nats_accounts import Operator

CREDENTIALS = Operator().credentials()


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
    ("url", "servers", "topic", "tls"),
    [
        ("kafka://a/orders", "a:9092", "orders", False),
        (" kafkas://a:9093,b,[::1]:9094/shop.orders ", "a:9093,b:9092,[::1]:9094", "shop.orders", True),
        ("kafka://[::1]/t", "[::1]:9092", "t", False),
    ],
)
def test_a_url_of_kafka_has_servers_and_a_topic(
    monkeypatch: pytest.MonkeyPatch, url: str, servers: str, topic: str, tls: bool
) -> None:
    settings = read(monkeypatch, EVENTS_URL=url)
    assert settings.servers == ()
    assert settings.kafka
    assert (settings.kafka.servers, settings.kafka.topic, settings.kafka.tls) == (servers, topic, tls)
    assert settings.kafka.user == ""


def test_the_password_of_kafka_may_have_special_characters_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, EVENTS_URL="kafkas://me%40shop:pa55word%2F%3A@a/t", EVENTS_SASL_MECHANISM="PLAIN")
    assert settings.kafka
    assert (settings.kafka.user, settings.kafka.password) == ("me@shop", "pa55word/:")
    assert settings.kafka.mechanism == "PLAIN"
    assert "pa55word" not in repr(settings)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"EVENTS_URL": "kafka://me:pa55word@a/t", "EVENTS_SASL_MECHANISM": "PLAIN"}, "EVENTS_SASL_MECHANISM: PLAIN"),
        (
            {
                "EVENTS_URL": "kafka://me:pa55word@a/t",
                "EVENTS_CLIENT_CERTIFICATE": "-----BEGIN CERTIFICATE-----",
                "EVENTS_CLIENT_KEY": "-----BEGIN PRIVATE KEY-----",
            },
            "EVENTS_CLIENT_CERTIFICATE: needs TLS",
        ),
        ({"EVENTS_URL": "kafka://me:pa55word@a/t", "EVENTS_CREDENTIALS": CREDENTIALS}, "EVENTS_CREDENTIALS"),
    ],
)
def test_what_would_have_no_effect_or_show_a_password_is_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    with pytest.raises(config.ConfigError, match=named) as raised:
        read(monkeypatch, **values)
    assert "pa55word" not in str(raised.value)


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
        ("EVENTS_URL", "kafka://me:pa55word@kafka:9092/"),
        ("EVENTS_URL", "kafka://me:pa55word@kafka:port/t"),
        ("EVENTS_URL", "kafka://me:pa55word@kafka:99999/t"),
        ("EVENTS_URL", "kafka://me:pa55word@a,,b/t"),
        ("EVENTS_URL", "kafka://me:pa55word@a,me:pa55word@b/t"),
        ("EVENTS_URL", "kafka://pa55word@a/t"),
        ("EVENTS_URL", "kafka://me:pa55word@a/t/pa55word"),
        ("EVENTS_URL", "kafka://me:pa55word@a/.."),
        ("EVENTS_URL", "kafka://me:pa55word@a/" + "t" * 250),
        ("EVENTS_URL", "kafkaz://me:pa55word@a/t"),
        ("EVENTS_URL", "kafka://a/t,nats://me:pa55word@b"),
        ("EVENTS_PARTITIONS", "0"),
        ("EVENTS_SASL_MECHANISM", "GSSAPI"),
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
