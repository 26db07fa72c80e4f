"""The service makes the response to a new order and its first events; they show what the database would show."""

from __future__ import annotations

import json
import uuid
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.settings import KEY

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
CODES = st.text(st.characters(min_codepoint=33, max_codepoint=126, categories=["L", "P", "S"]), min_size=1, max_size=20)
LINES = st.fixed_dictionaries(
    {
        "sku": CODES,
        "quantity": st.sampled_from([1, 3, 1_000_000]),
        "unit_amount": st.sampled_from([0, 1, 450, 10**12]),
    },
    optional={"name": TEXTS, "kind": st.sampled_from(["item", "shipping", "tax"]), "tax_amount": st.just(0)},
)
ORDERS = st.fixed_dictionaries(
    {
        "currency": st.sampled_from(["EUR", "JPY"]),
        "items": st.lists(LINES, min_size=1, max_size=4),
        "payment_method": CODES,
    },
    optional={
        "customer": CODES,
        "reference": st.uuids().map(str),
        "capture": st.sampled_from(["automatic", "manual"]),
        "metadata": st.dictionaries(CODES, TEXTS | st.just(""), max_size=5),
    },
)


@settings(max_examples=100, deadline=None)
@given(wanted=ORDERS)
def test_a_new_order_is_answered_with_the_bytes_of_a_get(client: Any, wanted: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": str(uuid.uuid4())}
    placed = client.post("/v1/orders", json=wanted, headers=headers)
    assert placed.status_code in (201, 409, 422), placed.text
    assume(placed.status_code == 201)  # no reference of before, and no text that looks like a card number
    read = client.get(placed.headers["Location"], headers=headers)
    assert placed.data == read.data
    assert placed.headers["ETag"] == read.headers["ETag"]


def test_the_first_events_show_the_order_as_it_was_placed(client: Any) -> None:
    free = {"sku": "gift", "quantity": 1, "unit_amount": 0}
    wanted = {"currency": "EUR", "items": [free], "payment_method": "pm_ok", "metadata": {"cart": "9", "b": ""}}
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": str(uuid.uuid4())}
    placed = client.post("/v1/orders", json=wanted, headers=headers).json
    page = client.get(f"/v1/events?limit=2&order_id={placed['id']}", headers=headers).json
    first, second = page["data"]
    assert second["data"] == placed
    before = {"status": "pending_payment", "version": 1, "updated_at": first["data"]["updated_at"]}
    assert json.dumps(first["data"]) == json.dumps({**placed, **before})
