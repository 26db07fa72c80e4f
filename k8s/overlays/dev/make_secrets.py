"""Creates the Secrets of the dev overlay with random values, so that no file contains a secret.

Secrets that already exist are kept. All other pods wait until their Secrets exist.
"""

import json
import secrets
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import requests

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
READ_AND_WRITE = ["orders:read", "orders:write", "payments:read", "payments:write"]
PEER = ["payments:read", "payments:write", "merchants:any"]


def new_secrets():
    """Return {Secret name: {key: value}} with new random values at each call."""
    api_key, payment_api_key = (new_key() for _ in range(2))
    keys = [
        {"key": api_key, "merchant": "demo", "scopes": READ_AND_WRITE},
        {"key": payment_api_key, "merchant": "tandem", "scopes": PEER},
    ]
    credentials = {
        "api-key": api_key,
        "payment-api-key": payment_api_key,
        "api-keys": json.dumps(keys),
        "events-secrets": "whsec_" + b64encode(secrets.token_bytes(32)).decode(),
    }
    databases = {f"tandem-{name}-database": database(name) for name in ("order", "payment")}
    return {"tandem-credentials": credentials, **databases}


def new_key():
    """Return a new API key: `tandem_`, 40 random characters and a checksum (docs/auth.md)."""
    body = secrets.token_hex(20)
    return f"tandem_{body}{sha256(body.encode()).hexdigest()[:6]}"


def database(name):
    """Return new passwords of an embedded database, and its URLs: of its owner, and of the service `name`."""
    owner, service, administrator = (secrets.token_hex(16) for _ in range(3))
    at = f"tandem-{name}-postgresql:5432/{name}"
    return {
        "password": owner,
        "service-password": service,
        "postgres-password": administrator,
        "url": f"postgresql://{name}:{owner}@{at}",
        "service-url": f"postgresql://{name}_service:{service}@{at}",
    }


def main():
    """Create each Secret through the Kubernetes API; status 409 means that it exists already, and it is kept."""
    namespace, token = ((ACCOUNT / name).read_text() for name in ("namespace", "token"))
    for name, values in new_secrets().items():
        response = requests.post(
            f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/secrets",
            json={"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values},
            headers={"Authorization": f"Bearer {token}"},
            verify=str(ACCOUNT / "ca.crt"),
            timeout=10,
        )
        if response.status_code not in (201, 409):
            sys.exit(f"{name}: HTTP {response.status_code} {response.json().get('message', '')}")
        print(name, "created" if response.status_code == 201 else "exists already and is kept", flush=True)


if __name__ == "__main__":
    main()
