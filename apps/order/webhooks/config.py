"""The settings of webhooks, from the environment."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from environs import FileAwareEnv

from chassis import config
from chassis.config import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of webhooks; times in seconds."""

    allow_http: bool
    allowed_networks: tuple[Network, ...]
    concurrency: int
    give_up: float
    keys: tuple[str, ...] = field(repr=False)
    overlap: float
    retry: float
    timeout: float
    proxy: str = field(default="", repr=False)


def load(env: FileAwareEnv) -> Settings:
    """Read the environment. Raises ConfigError or environs.EnvError, which name the variable."""
    keys = tuple(env.str("WEBHOOK_KEYS", "").split())
    if any(len(key) < 32 for key in keys):
        raise ConfigError("WEBHOOK_KEYS: must be keys of at least 32 characters, with spaces between")
    return Settings(
        allow_http=env.bool("WEBHOOK_ALLOW_HTTP", False),
        allowed_networks=tuple(_network(text) for text in env.str("WEBHOOK_ALLOWED_NETWORKS", "").split(",") if text),
        concurrency=config.positive(env, "WEBHOOK_CONCURRENCY", 8),
        give_up=config.seconds(env, "WEBHOOK_GIVE_UP_SECONDS", 3 * 86400.0),
        keys=keys,
        overlap=config.seconds(env, "WEBHOOK_OVERLAP_SECONDS", 86400.0),
        retry=config.seconds(env, "WEBHOOK_RETRY_SECONDS", 5.0),
        timeout=config.seconds(env, "WEBHOOK_TIMEOUT", 10.0),
        proxy=env.str("WEBHOOK_PROXY", ""),
    )


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(f"WEBHOOK_ALLOWED_NETWORKS={text.strip()}: not a network such as 10.1.0.0/16") from error
