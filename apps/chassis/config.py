"""The settings that every service has, read from the environment.

Instead of NAME, NAME_FILE may name a file with the value, such as a mounted secret.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
from environs import FileAwareEnv
from psycopg.conninfo import conninfo_to_dict

from chassis import cards, money, urls
from chassis.auth import rate_limits, tokens
from chassis.auth.keyring import ANY_MERCHANT, Keyring
from chassis.auth.rate_limits import Limit
from chassis.http import authorities, cors
from chassis.messaging import signatures
from chassis.telemetry import tracing

T = TypeVar("T")

_KEY = re.compile(r"[\x21-\x7e]*")
_HEADERS = re.compile(r"(?: *[^\s=,]+ *=[\x20-\x7e]*)?", re.ASCII)


class ConfigError(Exception):
    """A setting is missing or invalid. The message names it and says what is valid."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that every service has; each service extends them in its own config.py."""

    database_url: str = field(repr=False)
    read_database_url: str = field(repr=False)
    database_pooled: bool
    scopes: frozenset[str]
    keyring: Keyring
    auth_off: bool
    key_cache_seconds: float
    jwt: tokens.Policy | None
    rate_limit: tuple[Limit, ...]
    rate_limit_unauthenticated: tuple[Limit, ...]
    trusted_proxies: int
    cors_origins: frozenset[str]
    public_url: str
    events_secrets: tuple[str, ...] = field(repr=False)
    relay_admin_port: int | None
    operator_port: int | None
    web_threads: int
    log_level: str
    relay_concurrency: int
    lease_seconds: float
    poll_seconds: float
    key_days: int


class _Reader(FileAwareEnv):
    """Strips white space around each value: a secret often ends with the newline of the file it was copied from."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            value = super()._get_value(env_key, default)
        except (OSError, ValueError) as error:  # missing, a folder, without permission, or not UTF-8
            raise ConfigError(f"{env_key}_FILE: must be the path of a readable text file") from error
        return value.strip() if isinstance(value, str) else value


def reader() -> FileAwareEnv:
    """Return a reader of environment variables, without white space around the values.

    It raises environs.EnvError for a value of the wrong type.
    """
    return _Reader(strip_whitespace=True)


def key(env: FileAwareEnv, name: str) -> str:
    """Return a secret that is sent in an HTTP header, or "". Raises ConfigError, which does not quote it."""
    value: str = env.str(name, "")
    if not _KEY.fullmatch(value):
        raise ConfigError(f"{name}: must be one key of visible ASCII characters, without spaces or line breaks")
    return value


def migration_url() -> str:
    """Return MIGRATION_DATABASE_URL, the URL of the role that owns the tables. Empty if migrations use DATABASE_URL.

    Only `flask migrate` reads it, so that no serving process holds it. Raises ConfigError.
    """
    env = reader()
    name = "MIGRATION_DATABASE_URL"
    return _database_url(env, name) if env.str(name, "") else ""


def common(env: FileAwareEnv, scopes: frozenset[str]) -> dict[str, object]:
    """Read the fields of `Settings` from the environment; `scopes` are the service's own.

    Raises ConfigError, environs.EnvError.
    """
    scopes |= {ANY_MERCHANT}
    environment = env.str("ENVIRONMENT", "production")
    if environment not in ("production", "development"):
        raise ConfigError(f"ENVIRONMENT={environment}: must be production or development")
    mode = env.str("AUTH_MODE", "api_key")
    if mode not in ("api_key", "off"):
        raise ConfigError(f"AUTH_MODE={mode}: must be api_key or off")
    if mode == "off" and environment == "production":
        raise ConfigError("AUTH_MODE=off is refused when ENVIRONMENT=production: anybody could act for any merchant")
    try:
        keyring = Keyring.parse(env.str("API_KEYS", "[]"), scopes)
    except ValueError as error:
        raise ConfigError(f"API_KEYS: {error}") from error
    secrets = tuple(env.str("EVENTS_SECRETS", "").split())
    if not all(signatures.is_secret(secret) for secret in secrets):
        raise ConfigError(
            "EVENTS_SECRETS: must be one or more of whsec_<base64 of at least 24 bytes>, separated by spaces"
        )
    level = env.str("LOG_LEVEL", "info")
    if level.upper() not in logging.getLevelNamesMapping():
        raise ConfigError(f"LOG_LEVEL={level}: must be debug, info, warning or error")
    _check_tracing(env)
    try:
        authorities.bundle()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return {
        "database_url": _database_url(env, "DATABASE_URL"),
        "read_database_url": _database_url(env, "READ_DATABASE_URL") if env.str("READ_DATABASE_URL", "") else "",
        "database_pooled": env.bool("DATABASE_POOLED", False),
        "scopes": scopes,
        "keyring": keyring,
        "auth_off": mode == "off",
        "key_cache_seconds": seconds(env, "KEY_CACHE_SECONDS", 5.0),
        "jwt": _jwt(env),
        "rate_limit": _parsed(env, "RATE_LIMIT", "", rate_limits.parse),
        "rate_limit_unauthenticated": _parsed(env, "RATE_LIMIT_UNAUTHENTICATED", "", rate_limits.parse),
        "trusted_proxies": _proxies(env),
        "cors_origins": _parsed(env, "CORS_ORIGINS", "", cors.parse),
        "public_url": http_url(env, "PUBLIC_URL", "") if env.str("PUBLIC_URL", "") else "",
        "events_secrets": secrets,
        "relay_admin_port": _port(env, "RELAY_ADMIN_PORT"),
        "operator_port": _port(env, "OPERATOR_PORT"),
        "web_threads": positive(env, "WEB_THREADS", 6),
        "log_level": level,
        "relay_concurrency": positive(env, "RELAY_CONCURRENCY", 8),
        "lease_seconds": seconds(env, "LEASE_SECONDS", 20.0),
        "poll_seconds": seconds(env, "POLL_SECONDS", 1.0),
        "key_days": positive(env, "IDEMPOTENCY_KEY_DAYS", 30),
    }


def _check_tracing(env: FileAwareEnv) -> None:
    """Raise ConfigError if OpenTelemetry's variables are invalid: otherwise each span would be lost later."""
    if not tracing.ENABLED:
        return
    for name in tracing.ENDPOINTS:
        _check_unpadded(name)
        if env.str(name, ""):
            _http_url(env, name)
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        protocol = env.str(name, "")
        if protocol not in ("", "http/protobuf"):
            raise ConfigError(f"{name}={protocol}: only http/protobuf is supported, usually on port 4318")
    for name in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        _check_unpadded(name)
        # Not quoted, because they usually contain a token. Later, the libraries would quote them in an error.
        if not _HEADERS.fullmatch(unquote(env.str(name, ""))):
            raise ConfigError(f"{name}: must be name=value, separated by commas")


def _check_unpadded(name: str) -> None:
    """Raise ConfigError for white space around a variable that OpenTelemetry's libraries read themselves."""
    value = os.environ.get(name, "")
    if value != value.strip():
        raise ConfigError(f"{name}: must not begin or end with white space")


def _jwt(env: FileAwareEnv) -> tokens.Policy | None:
    """Return which access tokens are valid, or None if tokens are not configured."""
    issuer, audience = env.str("JWT_ISSUER", ""), env.str("JWT_AUDIENCE", "")
    jwks = env.str("JWT_JWKS", "")
    url = _http_url(env, "JWT_JWKS_URL") if env.str("JWT_JWKS_URL", "") else ""
    if not (issuer or audience or jwks or url):
        return None
    if not (issuer and audience) or bool(jwks) == bool(url):
        raise ConfigError(
            "JWT_ISSUER, JWT_AUDIENCE and either JWT_JWKS_URL or JWT_JWKS (or JWT_JWKS_FILE) must be set together"
        )
    algorithms = tuple(filter(None, (each.strip() for each in env.str("JWT_ALGORITHMS", "RS256,ES256").split(","))))
    if not algorithms or not tokens.ALGORITHMS.issuperset(algorithms):
        raise ConfigError(
            f"JWT_ALGORITHMS: must be some of {', '.join(sorted(tokens.ALGORITHMS))}, separated by commas"
        )
    if jwks:
        try:
            tokens.parse(jwks, algorithms)
        except ValueError as error:
            raise ConfigError(f"JWT_JWKS: {error}") from error
    claim = env.str("JWT_MERCHANT_CLAIM", "merchant")
    if not claim:
        raise ConfigError("JWT_MERCHANT_CLAIM: must be the name of the claim that names the merchant")
    return tokens.Policy(
        issuer=issuer,
        audience=audience,
        algorithms=algorithms,
        merchant_claim=claim,
        jwks_url=url,
        jwks=jwks,
        allow_any_merchant=env.bool("JWT_ALLOW_ANY_MERCHANT", False),
    )


def _parsed(env: FileAwareEnv, name: str, default: str, parse: Callable[[str], T]) -> T:
    """Return what `parse` makes of a setting; it raises ValueError. Raises ConfigError."""
    try:
        return parse(env.str(name, default))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _proxies(env: FileAwareEnv) -> int:
    value = env.int("TRUSTED_PROXIES", 0)
    if value < 0:
        raise ConfigError(f"TRUSTED_PROXIES={value}: must be the number of proxies between clients and this service")
    return value


def positive(env: FileAwareEnv, name: str, default: int) -> int:
    """Return a whole number from 1 to a million. Raises ConfigError, environs.EnvError."""
    value = env.int(name, default)
    if not 1 <= value <= 1_000_000:
        raise ConfigError(f"{name}={value}: must be at least 1 and at most 1000000")
    return value


def seconds(env: FileAwareEnv, name: str, default: float) -> float:
    """Return a positive number of seconds, up to about 30 years. Raises ConfigError, environs.EnvError."""
    value = env.float(name, default)
    if not 0 < value <= 1e9:
        raise ConfigError(f"{name}={value}: must be more than 0 and at most 1000000000 seconds")
    return value


def _port(env: FileAwareEnv, name: str) -> int | None:
    value: int | None = env.int(name, None)
    if value is not None and not 1 <= value <= 65535:
        raise ConfigError(f"{name}={value}: must be a port from 1 to 65535")
    return value


def currency(env: FileAwareEnv, name: str, default: str) -> str:
    """Return a currency code of ISO 4217. Raises ConfigError."""
    value = env.str(name, default)
    if not money.is_currency(value):
        raise ConfigError(f"{name}={value}: not a code of ISO 4217, such as EUR")
    return value


def free_text(env: FileAwareEnv, name: str, default: str, longest: int) -> str:
    """Return a text that a request may hold, too, of 1 to `longest` characters. Raises ConfigError."""
    value: str = env.str(name, default)
    if not 1 <= len(value) <= longest or not value.isprintable() or cards.has_card_number(value):
        raise ConfigError(f"{name}: must have 1 to {longest} printable characters, and no card number")
    return value


def http_url(env: FileAwareEnv, name: str, default: str) -> str:
    """Return an http or https URL to which a path can be added, without a slash at its end. Raises ConfigError."""
    return _http_url(env, name, default, base=True).rstrip("/")


def _http_url(env: FileAwareEnv, name: str, default: str = "", *, base: bool = False) -> str:
    value: str = env.str(name, default)
    if not urls.is_http(value, base=base) or (base and "@" in urlsplit(value).netloc):
        # The value is not quoted, because a URL may contain a password.
        without = ", and without query, user and password" if base else ""
        raise ConfigError(f"{name}: must be a URL such as https://host.example:8080, with a host{without}")
    return value


def _database_url(env: FileAwareEnv, name: str) -> str:
    value: str = env.str(name)
    if not value.startswith(("postgresql://", "postgres://")):
        raise ConfigError(f"{name}: must be a URL that starts with postgresql:// or postgres://")
    if not value.isprintable():
        raise ConfigError(f"{name}: must not contain line breaks or other control characters")
    try:
        conninfo_to_dict(value)
    except psycopg.ProgrammingError:
        # The error quotes a part of the URL, which may be the password.
        raise ConfigError(f"{name}: is not a URL of PostgreSQL, or has an unknown parameter") from None
    return value
