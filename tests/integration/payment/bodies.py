"""Request bodies for the tests of the payment service."""

from __future__ import annotations

import uuid
from typing import Any


def wanted(**changes: Any) -> dict[str, Any]:
    """The body of POST /v1/payments for a new order; fields with the value `...` are left out."""
    body = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}
    return {name: value for name, value in body.items() if value is not ...}
