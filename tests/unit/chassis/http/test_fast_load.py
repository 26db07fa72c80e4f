"""The fast loader loads and refuses the same data as marshmallow."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import fields, validate, validates_schema

import order.schemas
import payment.batch_schemas
import payment.schemas
from chassis.http import fast_load
from chassis.http.fields import Schema

SCHEMAS = [
    schema
    for module in (order.schemas, payment.schemas, payment.batch_schemas)
    for schema in vars(module).values()
    if isinstance(schema, type) and issubclass(schema, Schema) and schema is not Schema
]

ITEM = {"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}
ORDER = {
    "currency": "EUR",
    "items": [ITEM],
    "customer": "cus_17",
    "payment_method": "pm_ok",
    "capture": "manual",
    "metadata": {"cart": "9"},
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**64),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.sampled_from(["EUR", "eur", "automatic", "manual", "", "x" * 201, "018f6f6e-7b7a-7cc0-8000-000000000000"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
)


def outcome(load: Any, data: Any) -> Any:
    try:
        return load(data)
    except ma.ValidationError as error:
        return error.messages


@given(data=st.data(), schema=st.sampled_from(SCHEMAS))
def test_it_loads_and_refuses_the_same_data_as_marshmallow(data: st.DataObject, schema: type[Schema]) -> None:
    instance = schema()
    keys = st.sampled_from([*(field.data_key or name for name, field in instance.fields.items()), "other"])
    body = data.draw(st.dictionaries(keys, values, max_size=8))
    assert outcome(fast_load.loader(instance), body) == outcome(instance.load, body)


@given(data=st.data())
def test_an_order_with_one_changed_field_is_loaded_or_refused_as_by_marshmallow(data: st.DataObject) -> None:
    instance = order.schemas.PlaceOrder()
    body: dict[str, Any] = {**ORDER, "items": [dict(ITEM)]}
    where = data.draw(st.sampled_from(["body", "item", "metadata"]))
    if where == "body":
        body[data.draw(st.sampled_from([*ORDER, "other"]))] = data.draw(values)
    elif where == "item":
        body["items"][0][data.draw(st.sampled_from(["sku", "name", "quantity", "unit_amount", "x"]))] = data.draw(
            values
        )
    else:
        body["metadata"] = data.draw(st.dictionaries(st.text(max_size=45), values, max_size=55))
    assert outcome(fast_load.loader(instance), body) == outcome(instance.load, body)


def test_a_valid_order_is_loaded_without_marshmallow(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = order.schemas.PlaceOrder()
    load = fast_load.loader(instance)
    wanted = instance.load(ORDER)
    monkeypatch.delattr(ma.Schema, "load")
    assert load(ORDER) == wanted


def test_a_valid_batch_is_loaded_without_marshmallow(monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = "018F6F6E-7B7A-7CC0-8000-000000000000"
    payload = {"order_id": order_id, "amount": 900, "currency": "EUR", "payment_method": "pm_ok"}
    command = {"id": "k", "merchant": "demo", "topic": "payment.create", "payload": payload, "headers": {"a": "b"}}
    batch = payment.batch_schemas.CommandBatch()
    create = payment.schemas.CreatePayment()
    loads = fast_load.loader(batch), fast_load.loader(create)
    wanted = batch.load({"commands": [command] * 2}), create.load(payload)
    monkeypatch.delattr(ma.Schema, "load")
    monkeypatch.delattr(fields.Field, "deserialize")
    assert (loads[0]({"commands": [command] * 2}), loads[1](payload)) == wanted
    assert wanted[1]["order_id"] == order_id.lower()


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_anything_but_an_object_is_refused(body: Any) -> None:
    instance = order.schemas.Nothing()
    refused = {"_schema": ["Invalid input type."]}
    assert outcome(fast_load.loader(instance), body) == outcome(instance.load, body) == refused


def test_a_schema_with_a_hook_is_refused_when_the_loader_is_made() -> None:
    class Hooked(Schema):
        amount = fields.Integer()

        @validates_schema
        def never(self, data: Any, **_: Any) -> None:
            raise ma.ValidationError("no")

    with pytest.raises(TypeError, match="Hooked has hooks"):
        fast_load.loader(Hooked())


def test_defaults_null_and_custom_validators_work() -> None:
    class Odd(Schema):
        even = fields.Integer(validate=lambda number: None if number % 2 == 0 else _refuse())
        maybe = fields.String(allow_none=True, validate=validate.Length(max=2))
        made = fields.List(fields.String(), load_default=list)

    load = fast_load.loader(Odd())
    assert load({"even": 2, "maybe": None}) == {"even": 2, "maybe": None, "made": []}
    assert load({})["made"] is not load({})["made"]
    assert outcome(load, {"even": 3}) == {"even": ["odd"]}


def _refuse() -> None:
    raise ma.ValidationError("odd")
