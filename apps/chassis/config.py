"""Settings that both services have, read from the environment (NAME_FILE may stand for NAME, for mounted secrets)."""

from __future__ import annotations

from dataclasses import dataclass

from environs import FileAwareEnv

from chassis import money
from chassis.auth import Keyring


class ConfigError(Exception):
    """A setting is missing or makes no sense; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What order and payment have in common; each extends it in its own config.py."""

    database_url: str
    environment: str
    keyring: Keyring
    auth_off: bool
    events_secrets: tuple[str, ...]
    relay_admin_port: int | None
    web_threads: int
    log_level: str
    default_currency: str
    default_payment_method: str
    relay_concurrency: int
    lease_seconds: float
    poll_seconds: float
    key_days: int


def reader() -> FileAwareEnv:
    """A reader of the environment's variables; raises environs.EnvError for a value of the wrong type."""
    return FileAwareEnv(strip_whitespace=True)


def common(env: FileAwareEnv) -> dict[str, object]:
    """The fields of `Settings`, from the environment. Raises ConfigError, environs.EnvError."""
    environment = env.str("ENVIRONMENT", "production")
    if environment not in ("production", "development"):
        raise ConfigError(f"ENVIRONMENT={environment}: must be production or development")
    mode = env.str("AUTH_MODE", "api_key")
    if mode not in ("api_key", "off"):
        raise ConfigError(f"AUTH_MODE={mode}: must be api_key or off")
    if mode == "off" and environment == "production":
        raise ConfigError("AUTH_MODE=off is refused when ENVIRONMENT=production: anybody could charge anybody")
    try:
        keyring = Keyring.parse(env.str("API_KEYS", "[]"))
    except ValueError as error:
        raise ConfigError(f"API_KEYS: {error}") from error
    default_currency = env.str("DEFAULT_CURRENCY", "EUR")
    if not money.is_currency(default_currency):
        raise ConfigError(f"DEFAULT_CURRENCY={default_currency}: not a code of ISO 4217, such as EUR")
    return {
        "database_url": env.str("DATABASE_URL"),
        "environment": environment,
        "keyring": keyring,
        "auth_off": mode == "off",
        "events_secrets": tuple(env.str("EVENTS_SECRETS", "").split()),
        "relay_admin_port": env.int("RELAY_ADMIN_PORT", None),
        "web_threads": env.int("WEB_THREADS", 4),
        "log_level": env.str("LOG_LEVEL", "info"),
        "default_currency": default_currency,
        "default_payment_method": env.str("DEFAULT_PAYMENT_METHOD", "pm_ok"),
        "relay_concurrency": env.int("RELAY_CONCURRENCY", 8),
        "lease_seconds": env.float("LEASE_SECONDS", 20.0),
        "poll_seconds": env.float("POLL_SECONDS", 1.0),
        "key_days": env.int("IDEMPOTENCY_KEY_DAYS", 30),
    }
