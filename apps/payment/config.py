"""The payment service's settings, from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chassis import config


@dataclass(frozen=True, slots=True)
class Settings(config.Settings):
    """All settings of the payment service; times in seconds."""

    order_url: str
    order_timeout: float
    provider: str
    authorization_seconds: float


def load() -> Settings:
    """Read the environment. Raises config.ConfigError or environs.EnvError, which name the variable."""
    env = config.reader()
    fields: dict[str, Any] = config.common(env)
    provider = env.str("PROVIDER", "simulator")
    if provider != "simulator":
        raise config.ConfigError(f"PROVIDER={provider}: must be simulator")
    return Settings(
        **fields,
        order_url=env.str("ORDER_URL", "http://localhost:8080").rstrip("/"),
        order_timeout=env.float("ORDER_TIMEOUT", 5.0),
        provider=provider,
        authorization_seconds=env.float("AUTHORIZATION_SECONDS", 7 * 24 * 3600.0),
    )
