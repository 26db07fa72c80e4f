"""The settings of the payment service, read from the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chassis import config

SCOPES = frozenset({"payments:read", "payments:write"})
"""The scopes of the payment service, in addition to `merchants:any`, which every service has."""


@dataclass(frozen=True, slots=True)
class Settings(config.Settings):
    """The settings of the payment service. Times are in seconds."""

    default_currency: str
    default_payment_method: str
    order_url: str
    order_timeout: float
    authorization_seconds: float
    provider: str
    provider_timeout: float
    stripe_api_key: str = field(repr=False)
    stripe_api_base: str
    stripe_webhook_secrets: tuple[str, ...] = field(repr=False)


def load() -> Settings:
    """Read the environment. Raises config.ConfigError or environs.EnvError; the message names the variable."""
    env = config.reader()
    fields: dict[str, Any] = config.common(env, SCOPES)
    provider = env.str("PROVIDER", "simulator")
    if provider not in ("simulator", "stripe"):
        raise config.ConfigError(f"PROVIDER={provider}: must be simulator or stripe")
    stripe_api_key = config.key(env, "STRIPE_API_KEY")
    if provider == "stripe" and not stripe_api_key:
        raise config.ConfigError("STRIPE_API_KEY (or STRIPE_API_KEY_FILE) is missing: PROVIDER=stripe needs it")
    return Settings(
        **fields,
        default_currency=config.currency(env, "DEFAULT_CURRENCY", "EUR"),
        default_payment_method=config.free_text(env, "DEFAULT_PAYMENT_METHOD", "pm_ok", 100),
        order_url=config.http_url(env, "ORDER_URL", "http://localhost:8080"),
        order_timeout=config.seconds(env, "ORDER_TIMEOUT", 5.0),
        authorization_seconds=config.seconds(env, "AUTHORIZATION_SECONDS", 7 * 24 * 3600.0),
        provider=provider,
        provider_timeout=config.seconds(env, "PROVIDER_TIMEOUT", 10.0),
        stripe_api_key=stripe_api_key,
        stripe_api_base=config.http_url(env, "STRIPE_API_BASE", "https://api.stripe.com"),
        stripe_webhook_secrets=tuple(env.str("STRIPE_WEBHOOK_SECRETS", "").split()),
    )
