"""The settings of the order service, read from the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chassis import config
from order.publisher import config as publisher
from order.webhooks import config as webhooks

SCOPES = frozenset({"orders:read", "orders:write", "operator:read", "operator:write", "operator:orders"})
"""The scopes of the order service, in addition to `merchants:any`, which every service has."""


@dataclass(frozen=True, slots=True)
class Settings(config.Settings):
    """The settings of the order service. Times are in seconds."""

    default_currency: str
    default_payment_method: str
    payment_url: str
    payment_api_key: str = field(repr=False)
    payment_timeout: float
    sweep_seconds: float
    sweep_authorized_seconds: float
    webhooks: webhooks.Settings
    events: publisher.Settings


def load() -> Settings:
    """Read the environment. Raises config.ConfigError or environs.EnvError; the message names the variable."""
    env = config.reader()
    fields: dict[str, Any] = config.common(env, SCOPES)
    return Settings(
        **fields,
        default_currency=config.currency(env, "DEFAULT_CURRENCY", "EUR"),
        default_payment_method=config.free_text(env, "DEFAULT_PAYMENT_METHOD", "pm_ok", 100),
        payment_url=config.http_url(env, "PAYMENT_URL", "http://localhost:8081"),
        payment_api_key=config.key(env, "PAYMENT_API_KEY"),
        sweep_seconds=config.seconds(env, "SWEEP_SECONDS", 60.0),
        sweep_authorized_seconds=config.seconds(env, "SWEEP_AUTHORIZED_SECONDS", 3600.0),
        webhooks=webhooks.load(env),
        events=publisher.load(env),
        payment_timeout=config.seconds(env, "PAYMENT_TIMEOUT", 12.0),
    )
