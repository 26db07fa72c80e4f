"""Settings of both services for tests: keys with different scopes, short leases, short polling intervals."""

from __future__ import annotations

import json

KEY = "tdm_test"
OTHER_KEY = "tdm_other"
READONLY_KEY = "tdm_readonly"
INTERNAL_KEY = "tdm_internal"
OPERATOR_KEY = "tdm_operator"
LOOKING_KEY = "tdm_looking"
RETRYING_KEY = "tdm_retrying"
SECRET = "whsec_" + "dGFuZGVtLXRlc3RzLXNpZ24td2l0aC10aGlzLWtleSE="

_WRITES = ["orders:read", "orders:write", "payments:read", "payments:write"]
API_KEYS = json.dumps(
    [
        {"key": KEY, "merchant": "demo", "scopes": _WRITES},
        {"key": OTHER_KEY, "merchant": "other", "scopes": _WRITES},
        {"key": READONLY_KEY, "merchant": "demo", "scopes": ["orders:read", "payments:read"]},
        {"key": OPERATOR_KEY, "merchant": "tandem", "scopes": ["operator:read", "operator:write", "operator:orders"]},
        {"key": RETRYING_KEY, "merchant": "tandem", "scopes": ["operator:read", "operator:write"]},
        {"key": LOOKING_KEY, "merchant": "tandem", "scopes": ["operator:read"]},
        {
            "key": INTERNAL_KEY,
            "merchant": "tandem",
            "scopes": ["payments:read", "payments:write", "merchants:any"],
        },
    ]
)


def environment(database_url: str, peer: dict[str, str]) -> dict[str, str]:
    """Return a service's environment variables. `peer` has the variables for the other service's URL."""
    return {
        "ENVIRONMENT": "development",
        "DATABASE_URL": database_url,
        "API_KEYS": API_KEYS,
        "PAYMENT_API_KEY": INTERNAL_KEY,
        "EVENTS_SECRETS": SECRET,
        "LEASE_SECONDS": "1",
        "POLL_SECONDS": "0.1",
        "LOG_LEVEL": "warning",
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_RETRY_SECONDS": "0.1",
        "WEBHOOK_TIMEOUT": "2",
        **peer,
    }
