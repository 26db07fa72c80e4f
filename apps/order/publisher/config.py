"""The settings of the publisher, from the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from environs import FileAwareEnv

from chassis import config
from chassis.config import ConfigError
from order.publisher.credentials import Credentials, parse

SCHEMES = ("nats", "tls")

_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach the broker. `servers` is empty if events are not published; times are in seconds."""

    servers: tuple[str, ...] = field(repr=False)
    credentials: Credentials | None = field(repr=False)
    client_certificate: str = field(repr=False)
    client_key: str = field(repr=False)
    stream: str
    replicas: int
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
    return Settings(
        servers=_servers(env.str("EVENTS_URL", "")),
        credentials=credentials,
        client_certificate=certificate,
        client_key=key,
        stream=stream,
        replicas=config.positive(env, "EVENTS_REPLICAS", 1),
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
            raise ConfigError("EVENTS_URL: must be nats://host:port or tls://host:port, several separated by commas")
    if len({urlsplit(server).scheme for server in servers}) > 1:
        raise ConfigError("EVENTS_URL: must not have both nats:// and tls://")
    return servers
