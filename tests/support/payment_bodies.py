"""Request bodies for the payment service."""

from __future__ import annotations

import uuid
from typing import Any


def wanted(**changes: Any) -> dict[str, Any]:
    """Return a body for POST /v1/payments, with a new order id. A field with the value `...` is omitted."""
    body = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}
    return {name: value for name, value in body.items() if value is not ...}
