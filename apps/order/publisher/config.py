"""The settings of the publisher, from the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from environs import FileAwareEnv

from chassis import config
from chassis.config import ConfigError
from order.publisher.credentials import Credentials, parse

SCHEMES = ("nats", "tls")

MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
"""How a password can be proved to Kafka; the first one is the default."""

_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")

_KAFKA = re.compile(
    r"(?P<scheme>kafkas?)://(?:(?P<user>[^\s:@/]+):(?P<password>[^\s:@/]+)@)?(?P<servers>[^\s@/?#]+)"
    r"/(?P<topic>(?!\.{1,2}$)[A-Za-z0-9._-]{1,249})"
)


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to reach Kafka, and the topic. `servers` are `host:port`, separated by commas; `user` may be empty."""

    servers: str
    topic: str
    tls: bool
    user: str
    password: str = field(repr=False)
    mechanism: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach the broker; times are in seconds.

    `servers` are those of NATS. If events are published to Kafka, it is empty and `kafka` is set. If both are empty,
    events are not published.
    """

    servers: tuple[str, ...] = field(repr=False)
    kafka: KafkaSettings | None
    credentials: Credentials | None = field(repr=False)
    client_certificate: str = field(repr=False)
    client_key: str = field(repr=False)
    stream: str
    replicas: int
    partitions: int
    source: str
    timeout: float


def load(env: FileAwareEnv) -> Settings:
    """Read the environment. Raises ConfigError or environs.EnvError, which name the variable."""
    stream = env.str("EVENTS_STREAM", "TANDEM")
    if not _STREAM.fullmatch(stream):
        raise ConfigError("EVENTS_STREAM: must be 1 to 64 letters, digits, dashes and underscores")
    source = env.str("EVENTS_SOURCE", "/tandem/order")
    if not source or not source.isascii() or not source.isprintable() or " " in source:
        raise ConfigError("EVENTS_SOURCE: must be a URI or a path, such as /shop/order")
    given = env.str("EVENTS_CREDENTIALS", "")
    try:
        credentials = parse(given) if given else None
    except ValueError as error:
        raise ConfigError(f"EVENTS_CREDENTIALS (or _FILE): must be a credentials file of NATS: {error}") from error
    certificate, key = env.str("EVENTS_CLIENT_CERTIFICATE", ""), env.str("EVENTS_CLIENT_KEY", "")
    if ("BEGIN CERTIFICATE" in certificate, "PRIVATE KEY" in key) != (bool(key), bool(certificate)):
        raise ConfigError(
            "EVENTS_CLIENT_CERTIFICATE and EVENTS_CLIENT_KEY (or _FILE): must be set together, in PEM form"
        )
    url = env.str("EVENTS_URL", "")
    mechanism = env.str("EVENTS_SASL_MECHANISM", MECHANISMS[0])
    if mechanism not in MECHANISMS:
        raise ConfigError(f"EVENTS_SASL_MECHANISM: must be one of {', '.join(MECHANISMS)}")
    kafka = parse_kafka(url, mechanism) if url.lstrip().startswith("kafka") else None
    if kafka and credentials:
        raise ConfigError("EVENTS_CREDENTIALS (or _FILE): is for NATS; for Kafka, EVENTS_URL has user and password")
    if kafka and certificate and not kafka.tls:
        raise ConfigError("EVENTS_CLIENT_CERTIFICATE: needs TLS: EVENTS_URL must begin with kafkas://")
    return Settings(
        servers=() if kafka else _servers(url),
        kafka=kafka,
        credentials=credentials,
        client_certificate=certificate,
        client_key=key,
        stream=stream,
        replicas=config.positive(env, "EVENTS_REPLICAS", 1),
        partitions=config.positive(env, "EVENTS_PARTITIONS", 6),
        source=source,
        timeout=config.seconds(env, "EVENTS_TIMEOUT", 5.0),
    )


def _servers(text: str) -> tuple[str, ...]:
    """Return the servers of EVENTS_URL. Raises ConfigError, which does not quote the URL: it may have a password."""
    servers = tuple(filter(None, (each.strip() for each in text.split(","))))
    for server in servers:
        try:
            url = urlsplit(server)
            good = url.scheme in SCHEMES and bool(url.hostname) and url.port != 0
            good = good and url.path in ("", "/") and not (url.query or url.fragment) and server.isprintable()
        except ValueError:
            good = False
        if not good:
            raise ConfigError(
                "EVENTS_URL: must be nats://host:port or tls://host:port, several separated by commas,"
                " or kafka://host:port,host:port/topic"
            )
    if len({urlsplit(server).scheme for server in servers}) > 1:
        raise ConfigError("EVENTS_URL: must not have both nats:// and tls://")
    return servers


def parse_kafka(text: str, mechanism: str = MECHANISMS[0]) -> KafkaSettings:
    """Return what EVENTS_URL says of Kafka. Raises ConfigError, which does not quote the URL."""
    found = _KAFKA.fullmatch(text.strip())
    servers = [_server(each) for each in found["servers"].split(",")] if found else [None]
    if not found or None in servers:
        raise ConfigError(
            "EVENTS_URL: must be kafka://host:port,host:port/topic, or kafkas:// for TLS, with user:password@ before"
            " the first host if needed; special characters in these as %40"
        )
    tls, user = found["scheme"] == "kafkas", found["user"]
    if user and mechanism == "PLAIN" and not tls:
        raise ConfigError(
            "EVENTS_SASL_MECHANISM: PLAIN sends the password as it is: EVENTS_URL must begin with kafkas://"
        )
    return KafkaSettings(
        servers=",".join(server for server in servers if server),
        topic=found["topic"],
        tls=tls,
        user=unquote(user or ""),
        password=unquote(found["password"] or ""),
        mechanism=mechanism,
    )


def _server(text: str) -> str | None:
    """Return a server of Kafka as `host:port`, or None if it is not one."""
    try:
        url = urlsplit(f"//{text}")
        port = 9092 if url.port is None else url.port
    except ValueError:
        return None
    if not url.hostname or port == 0 or not text.isprintable():
        return None
    return f"[{url.hostname}]:{port}" if ":" in url.hostname else f"{url.hostname}:{port}"
