"""Kafka over TLS, with a client's certificate, and with user and password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.order.publisher.test_kafka import publish
from tests.integration.order.publisher.test_refusals import AUTHORITY, certificate, trusted
from tests.support.kafka_server import TOPIC, KafkaServer

__all__ = ["trusted"]

USER = "SCRAM-SHA-512=[name=tandem,iterations=4096,password=pa55word]"


def stores(chain: str, key: str) -> str:
    """Return the configuration of a server's certificate and of the authority of clients' certificates."""

    def line(pem: str) -> str:
        return pem.strip().replace("\n", " ")

    return (
        "ssl.keystore.type=PEM\nssl.truststore.type=PEM\n"
        f"ssl.keystore.certificate.chain={line(chain)}\nssl.keystore.key={line(key)}\n"
        f"ssl.truststore.certificates={line(AUTHORITY.cert_pem.bytes().decode())}\n"
    )


def issued(folder: Path, name: str, *hosts: str) -> tuple[str, str]:
    """Return the texts of a certificate and of its key, in PKCS #8."""
    from cryptography.hazmat.primitives import serialization

    chain, key = (Path(path).read_bytes() for path in certificate(folder, name, *hosts))
    private = serialization.load_pem_private_key(key, None)
    encoded = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return chain.decode(), encoded.decode()


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A server that requires TLS and a client's certificate."""
    folder = tmp_path_factory.mktemp("mutual")
    more = stores(*issued(folder, "server", "localhost")) + "listener.name.client.ssl.client.auth=required"
    with KafkaServer(folder, protocol="SSL", more=more) as server:
        yield server


@pytest.fixture(scope="module")
def password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A server that requires TLS, and a user's password by SCRAM."""
    folder = tmp_path_factory.mktemp("password")
    more = stores(*issued(folder, "server", "localhost")) + (
        "sasl.enabled.mechanisms=SCRAM-SHA-512\n"
        "listener.name.client.scram-sha-512.sasl.jaas.config="
        "org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
    )
    with KafkaServer(folder, protocol="SASL_SSL", more=more, users=[USER]) as server:
        yield server


def url(server: KafkaServer, who: str = "", scheme: str = "kafkas") -> str:
    return f"{scheme}://{who}{server.servers}/{TOPIC}"


def test_events_are_published_over_tls_with_a_client_certificate(
    mutual: KafkaServer, trusted: None, tmp_path: Path
) -> None:
    chain, key = issued(tmp_path, "client", "publisher.example")
    assert publish(url(mutual), client_certificate=chain, client_key=key) == ({"id-1"}, None)
    acknowledged, error = publish(url(mutual), timeout=1)
    assert not acknowledged
    assert error


def test_a_server_with_an_unknown_authority_is_refused(mutual: KafkaServer) -> None:
    acknowledged, error = publish(url(mutual), timeout=1)
    assert not acknowledged
    assert "certificate verify failed" in str(error)


def test_a_certificate_that_is_none_is_the_reason(mutual: KafkaServer, trusted: None) -> None:
    acknowledged, error = publish(url(mutual), client_certificate="BEGIN CERTIFICATE", client_key="PRIVATE KEY")
    assert not acknowledged
    assert "ssl" in str(error)


def test_a_wrong_password_is_the_reason_and_a_right_one_is_accepted(password: KafkaServer, trusted: None) -> None:
    acknowledged, error = publish(url(password, "tandem:wr0ng@"), timeout=1)
    assert not acknowledged
    assert "authentication" in str(error).lower()
    assert "wr0ng" not in str(error)
    assert publish(url(password, "tandem:pa55word@")) == ({"id-1"}, None)
    assert publish(url(password, "tandem:pa55word@", "kafka"), timeout=1)[0] == set(), "without TLS"
