"""Makes the Secrets of a trial: new ones in each namespace, and none where there are some already.

Nothing that opens anything is in a file that way. All other pods wait for their Secrets to be mounted.
"""

import json
import secrets
import sys
from base64 import b64encode
from pathlib import Path

import requests

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
READ_AND_WRITE = ["orders:read", "orders:write", "payments:read", "payments:write"]
PEER = ["payments:read", "payments:write", "merchants:any"]


def made():
    """The Secrets' names and what is in them, anew at each call."""
    mine, orders = (f"tdm_{secrets.token_hex(20)}" for _ in range(2))
    keys = [
        {"key": mine, "merchant": "demo", "scopes": READ_AND_WRITE},
        {"key": orders, "merchant": "tandem", "scopes": PEER},
    ]
    credentials = {
        "api-key": mine,
        "payment-api-key": orders,
        "api-keys": json.dumps(keys),
        "events-secrets": "whsec_" + b64encode(secrets.token_bytes(32)).decode(),
    }
    databases = {f"tandem-{name}-database": database(name) for name in ("order", "payment")}
    return {"tandem-credentials": credentials, **databases}


def database(name):
    """The passwords of an embedded database, and its URL for the service that it belongs to."""
    password = secrets.token_hex(16)
    url = f"postgresql://{name}:{password}@tandem-{name}-postgresql:5432/{name}"
    return {"password": password, "postgres-password": secrets.token_hex(16), "url": url}


def main():
    """Ask the cluster's API to keep each; 409 says that it has one of that name, which stays."""
    namespace, token = ((ACCOUNT / name).read_text() for name in ("namespace", "token"))
    for name, values in made().items():
        answer = requests.post(
            f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/secrets",
            json={"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values},
            headers={"Authorization": f"Bearer {token}"},
            verify=str(ACCOUNT / "ca.crt"),
            timeout=10,
        )
        if answer.status_code not in (201, 409):
            sys.exit(f"{name}: HTTP {answer.status_code} {answer.json().get('message', '')}")
        print(name, "made" if answer.status_code == 201 else "is there", flush=True)


if __name__ == "__main__":
    main()
