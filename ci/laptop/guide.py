"""What `make run` tells scripts (`.run/env`) and people (addresses, keys, commands to paste)."""

import json
import secrets
from collections.abc import Mapping

from ci.laptop import nats
from ci.laptop.journey import PAYMENT_METHOD
from ci.laptop.ports import Ports, url
from ci.laptop.services import DatabaseUrls


def env_file(ports: Ports, keys: Mapping[str, str], databases: Mapping[str, DatabaseUrls]) -> dict[str, str]:
    """Return the variables of `.run/env`."""
    return {
        "ORDER_URL": url(ports.order),
        "PAYMENT_URL": url(ports.payment),
        "ORDER_ADMIN_URL": url(ports.order_admin),
        "PAYMENT_ADMIN_URL": url(ports.payment_admin),
        "API_KEY": keys["API_KEY"],
        "OTHER_API_KEY": keys["OTHER_API_KEY"],
        "READONLY_API_KEY": keys["READONLY_API_KEY"],
        "OPERATOR_API_KEY": keys["OPERATOR_API_KEY"],
        "ORDER_DATABASE_URL": databases["order"].service,
        "PAYMENT_DATABASE_URL": databases["payment"].service,
        "ORDER_MIGRATION_DATABASE_URL": databases["order"].owner,
        "PAYMENT_MIGRATION_DATABASE_URL": databases["payment"].owner,
        **({"EVENTS_URL": nats.url(ports.nats)} if ports.nats else {}),
    }


def welcome(ports: Ports, keys: Mapping[str, str], order_id: str) -> list[str]:
    """Return lines with the addresses, the keys and three commands to paste."""
    key = f"-H 'Authorization: Bearer {keys['API_KEY']}'"
    line = {"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}
    order = json.dumps({"currency": "EUR", "items": [line], "payment_method": PAYMENT_METHOD})
    return [
        f"order    {url(ports.order)}   metrics and health {url(ports.order_admin)}",
        f"payment  {url(ports.payment)}   metrics and health {url(ports.payment_admin)}",
        *([f"events   {nats.url(ports.nats)}   consumer: docs/examples/nats_consumer.py"] if ports.nats else []),
        f"API key  {keys['API_KEY']}",
        f"operator {url(ports.order_admin)}/operator   sign in with {keys['OPERATOR_API_KEY']}",
        "",
        "To place an order, read the order above, and read its payment:",
        f"curl {url(ports.order)}/v1/orders {key} -H 'Content-Type: application/json' -H 'Prefer: wait=5'"
        f" -H 'Idempotency-Key: {secrets.token_hex(8)}' -d '{order}'",
        f"curl {url(ports.order)}/v1/orders/{order_id} {key}",
        f"curl '{url(ports.payment)}/v1/payments?order_id={order_id}' {key}",
        "",
        f"The API as pages that can send requests: {url(ports.order)}/docs and {url(ports.payment)}/docs",
        "For a shell: . .run/env sets the addresses and keys, and ./tandem-admin runs operators' commands.",
        "For a tour that breaks Tandem and shows what saves it: make tour, in another terminal.",
        "",
        "Tandem is running; Ctrl-C stops it.",
    ]
