"""What tests of the payment service send."""

from __future__ import annotations

import uuid
from typing import Any


def wanted(**changes: Any) -> dict[str, Any]:
    """The body of POST /v1/payments, for an order of its own; a field that is `...` is left out."""
    body = {"order_id": str(uuid.uuid4()), "amount": 900, "currency": "EUR", "payment_method": "pm_ok", **changes}
    return {name: value for name, value in body.items() if value is not ...}
