"""A fast path for loading valid data with a marshmallow schema.

Nearly all requests are valid, and for these `Schema.load` costs as much as all of Flask. `loader` builds a function
from the fields of a schema once; it takes a tenth of the time. It handles valid values only: at the first value that
it is not sure of, it calls `Schema.load`, which decides and explains what is wrong.

This relies on two private parts of marshmallow 4. `Schema._hooks` tells whether a schema has hooks such as
`@validates_schema`, which the fast path would skip; a schema with hooks is refused. `Field._deserialize` tells which
fields load like a plain string or integer: a subclass that does not override it only adds validators or metadata.
tests/unit/chassis/http/test_fast_load.py compares the result with `Schema.load` for generated data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import marshmallow as ma
from marshmallow import fields, validate

from chassis import money
from chassis.http.fields import Currency, Id, Integer, Labels, List, Payload, is_uuid

Load = Callable[[Any], Any]


class _Undecided(Exception):
    """The fast path is not sure that the data is valid, so `Schema.load` must decide."""


def loader(schema: ma.Schema) -> Load:
    """Return a function that returns what `schema.load` returns and raises what it raises.

    Raises TypeError if the schema has hooks.
    """
    if any(schema._hooks.values()):
        raise TypeError(f"{type(schema).__name__} has hooks, which the fast path skips: use validators of fields")
    load = _object(schema)

    def load_fast(data: Any) -> Any:
        try:
            return load(data)
        except (_Undecided, ma.ValidationError):
            return schema.load(data)

    return load_fast


def _object(schema: ma.Schema) -> Load:
    strict = schema.unknown == ma.RAISE
    known = {
        field.data_key or name: (field.attribute or name, _field(field)) for name, field in schema.load_fields.items()
    }
    defaults = [
        (field.data_key or name, field.attribute or name, field.load_default, field.required)
        for name, field in schema.load_fields.items()
    ]

    def load(data: Any) -> Any:
        if type(data) is not dict:
            raise _Undecided
        loaded = {}
        for key, value in data.items():
            entry = known.get(key)
            if entry is None:
                if strict:
                    raise _Undecided
                continue
            loaded[entry[0]] = entry[1](value)
        if len(loaded) < len(known):
            for key, name, default, required in defaults:
                if key not in data:
                    if required:
                        raise _Undecided
                    if default is not ma.missing:
                        loaded[name] = default() if callable(default) else default
        return loaded

    return load


def _field(field: fields.Field[Any]) -> Load:
    """Return the loader of one field's value, with its validators."""
    load = _by_type(field)
    checks = [_check(validator) for validator in field.validators]
    if field.allow_none:
        inner = load
        load = lambda value: None if value is None else inner(value)  # noqa: E731
    if not checks:
        return load
    if len(checks) == 1:
        only = checks[0]

        def load_and_check(value: Any) -> Any:
            loaded = load(value)
            if loaded is not None:
                only(loaded)
            return loaded

        return load_and_check

    def load_and_check_all(value: Any) -> Any:
        loaded = load(value)
        if loaded is not None:
            for check in checks:
                check(loaded)
        return loaded

    return load_and_check_all


def _by_type(field: fields.Field[Any]) -> Load:
    kind = type(field)
    # A subclass that inherits _deserialize only adds validators or metadata.
    if kind._deserialize is fields.String._deserialize:
        return _exactly(str)
    if kind._deserialize is Integer._deserialize:
        return _exactly(int)
    if kind._deserialize is Id._deserialize:
        return _uuid
    if kind._deserialize is Currency._deserialize:
        return _currency
    if kind is fields.Nested:
        return _object(cast(fields.Nested, field).schema)
    if kind is List or kind is fields.List:
        return _list(_field(cast(fields.List[Any], field).inner))
    if kind in (Labels, Payload, fields.Dict):
        entries = cast(fields.Dict, field)
        return _entries(*(_field(each) if each else _unchanged for each in (entries.key_field, entries.value_field)))
    return lambda value: field.deserialize(value)


def _exactly(kind: type) -> Load:
    def load(value: Any) -> Any:
        if type(value) is not kind:
            raise _Undecided
        return value

    return load


def _unchanged(value: Any) -> Any:
    return value


def _uuid(value: Any) -> str:
    if type(value) is not str or not is_uuid(value):
        raise _Undecided
    return value.lower()


def _currency(value: Any) -> str:
    if type(value) is not str or not money.is_currency(value):
        raise _Undecided
    return value


def _list(inner: Load) -> Load:
    def load(value: Any) -> Any:
        if type(value) is not list:
            raise _Undecided
        return [inner(item) for item in value]

    return load


def _entries(key: Load, value: Load) -> Load:
    def load(entries: Any) -> Any:
        if type(entries) is not dict:
            raise _Undecided
        return {key(name): value(entry) for name, entry in entries.items()}

    return load


def _check(validator: Callable[[Any], Any]) -> Callable[[Any], object]:
    """Return a check equal to the validator. For common validators it makes no message, which is the slow part."""
    if type(validator) is validate.Length and validator.equal is None:
        least, most = validator.min or 0, float("inf") if validator.max is None else validator.max

        def length(value: Any) -> None:
            if not least <= len(value) <= most:
                raise _Undecided

        return length
    if type(validator) is validate.Range and validator.min_inclusive and validator.max_inclusive:
        low = float("-inf") if validator.min is None else validator.min
        high = float("inf") if validator.max is None else validator.max

        def between(value: Any) -> None:
            if not low <= value <= high:
                raise _Undecided

        return between
    if type(validator) is validate.OneOf:
        choices = frozenset(validator.choices)

        def one_of(value: Any) -> None:
            if value not in choices:
                raise _Undecided

        return one_of
    return validator
