"""The marshmallow schema and fields that the wire formats of services are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

import marshmallow as ma
from marshmallow import fields, validate

from chassis import money
from chassis.http.problems import MAX_ERRORS

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-5][0-9])"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"-?[0-9]+")
_TIME_EXAMPLE = "2026-03-14T09:26:53.589793Z"
_NO_EXAMPLE: Any = object()
_CURSORS = {
    "id": "^[A-Za-z0-9_-]{21}[AQgw]$",
    "time": "^A[A-Za-z0-4][A-Za-z0-9_-]{30}$",
    "name": "^(?:[2-7][0-9a-f]){1,64}$",
}


def describe(description: str, example: Any = _NO_EXAMPLE) -> dict[str, Any]:
    """Return the metadata of a field: its description and example in OpenAPI."""
    return {"description": description, **({} if example is _NO_EXAMPLE else {"example": example})}


class Schema(ma.Schema):
    """The base of all schemas: unknown fields are an error."""

    RULES: ClassVar[Mapping[str, Any]] = {}
    """JSON Schema for what validators require of several members together. It is part of the description in OpenAPI."""

    class Meta:
        """Refuse unknown fields."""

        unknown = ma.RAISE

    def load(self, data: Any, **kwargs: Any) -> Any:
        """Load an object. One with very many unknown members gets one error, not one for each member."""
        if isinstance(data, dict) and len(data) > len(self.load_fields) + MAX_ERRORS and self.unknown == ma.RAISE:
            raise ma.ValidationError(f"Has {len(data)} members, of which {len(self.load_fields)} are known.")
        return super().load(data, **kwargs)


class Integer(fields.Integer):
    """A JSON integer: not 1.0, not "1", not true."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        number = super()._deserialize(value, attr, data, **kwargs)
        assert number is not None
        return number


class Flag(fields.Boolean):
    """A JSON boolean: not "true", not 1."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Amount(Integer):
    """An amount of money in minor units: 450 is 4.50 EUR. It is between `minimum` and the largest bigint."""

    def __init__(self, description: str, minimum: int = 0, example: int = 900, **kwargs: Any) -> None:
        bounds = validate.Range(minimum, money.MAX_AMOUNT)
        super().__init__(validate=bounds, metadata=describe(f"{description} In minor units.", example), **kwargs)


class QueryInteger(fields.Integer):
    """A number in a query, in ASCII digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not _NUMBER.fullmatch(str(value)):
            raise self.make_error("invalid", input=value)
        return int(value)  # the length of a URL is bounded


class PageSize(QueryInteger):
    """The largest number of items in a page of a list: 1 to 100, by default 20."""

    def __init__(self) -> None:
        metadata = describe("The largest number of items in a page.")
        super().__init__(validate=validate.Range(1, 100), load_default=20, metadata=metadata)


class NextCursor(fields.String):
    """The cursor of the next page in a response."""

    def __init__(self) -> None:
        super().__init__(
            allow_none=True, metadata=describe("The `cursor` of the next page; null on the last page.", None)
        )


def _check_length(field: fields.Field[Any], value: Any, kind: type[list[Any] | dict[str, Any]]) -> None:
    """Raise ValidationError for a `kind` of the wrong length, before any of its members is validated."""
    if isinstance(value, kind):
        for validator in field.validators:
            if isinstance(validator, validate.Length):
                validator(value)


class List(fields.List[Any]):
    """A list. If its length is not valid, that is the only error of it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        _check_length(self, value, list)
        return super()._deserialize(value, attr, data, **kwargs)


class Member(str):
    """The name of a member in error messages. The caller chose it: `_schema` does not stand for the whole object."""

    __slots__ = ()


class Members(fields.Dict):
    """An object whose members have any names. An error of a key or a value is an error of that member.

    If the number of members is not valid, that is the only error.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        _check_length(self, value, dict)
        try:
            return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        except ma.ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            # marshmallow separates errors of keys from errors of values, which a JSON pointer cannot express.
            flat = {Member(name): [m for kind in both.values() for m in kind] for name, both in error.messages.items()}
            raise ma.ValidationError(flat) from error


class Labels(Members):
    """An object of strings to strings. Keys are codes and values are free text (see `chassis.cards`)."""


class Payload(Members):
    """An object that one of several schemas loads later: which one depends on another member.

    Its members are inspected as the members of these schemas, in which a name has one meaning.
    """

    def __init__(self, *schemas: type[Schema], **kwargs: Any) -> None:
        self.schemas = schemas
        super().__init__(**kwargs)


class Text(fields.String):
    """A string of `minimum` to `maximum` characters.

    It is free text, which must hold no card number, or with `code` an identifier, which must hold nothing that is
    written as a card number (see `chassis.cards`).
    """

    def __init__(self, maximum: int, minimum: int = 1, *, code: bool = False, **kwargs: Any) -> None:
        self.code = code
        extra = kwargs.pop("validate", [])
        super().__init__(validate=[validate.Length(minimum, maximum), *extra], **kwargs)


class Cursor(fields.String):
    """The position after which a page of a list begins. `paging` decodes it and refuses an invalid one.

    It is opaque to callers. Its form depends on what the list is ordered by.
    """

    def __init__(self, by: Literal["id", "time", "name"] = "id") -> None:
        metadata = describe("The `next_cursor` of the previous page.")
        super().__init__(metadata={"pattern": _CURSORS[by], **metadata})


class PageQuery(Schema):
    """The query of a list without filters."""

    limit = PageSize()
    cursor = Cursor()


class PageByTimeQuery(Schema):
    """The query of a list without filters that is ordered by time."""

    limit = PageSize()
    cursor = Cursor("time")


class PageByNameQuery(Schema):
    """The query of a list without filters that is ordered by name."""

    limit = PageSize()
    cursor = Cursor("name")


class Time(fields.String):
    """A time in a response: RFC 3339, UTC, with microseconds."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        super().__init__(metadata={"format": "date-time", **describe(description, _TIME_EXAMPLE)}, **kwargs)


class Choice(fields.String):
    """One of several strings. The first is the example unless another is given."""

    def __init__(self, choices: Iterable[str], description: str, example: str | None = None, **kwargs: Any) -> None:
        choices = [str(choice) for choice in choices]
        metadata = describe(description, example or choices[0])
        super().__init__(validate=validate.OneOf(choices), metadata=metadata, **kwargs)


class Choices(fields.Field):  # type: ignore[type-arg]
    """One or several of some strings in a query, separated by commas; it loads as a list without duplicates."""

    def __init__(self, choices: Iterable[str], description: str) -> None:
        self.choices = [str(choice) for choice in choices]
        items = {"type": "string", "enum": self.choices}
        about = describe(f"{description} Several are separated by commas.")
        super().__init__(metadata={"type": "array", "items": items, "minItems": 1, **about})

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        given = str(value).split(",")  # the length of a URL is bounded
        if not set(given) <= set(self.choices):
            raise ma.ValidationError(f"Must be one of: {', '.join(self.choices)}; or several, separated by commas.")
        return list(dict.fromkeys(given))


class Sort(Choice):
    """Which way a list is sorted by time, in a query."""

    def __init__(self, more: str = "") -> None:
        about = "`-created_at`, the default, lists the newest first, `created_at` the oldest."
        super().__init__(["-created_at", "created_at"], f"{about} {more}".strip())


class Currency(fields.String):
    """An ISO 4217 code in capitals."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        code = super()._deserialize(value, attr, data, **kwargs)
        if code is None or not money.is_currency(code):
            raise ma.ValidationError("Must be an ISO 4217 currency code, such as EUR.")
        return code


class Id(fields.UUID):
    """A UUID as a string of 8-4-4-4-12 hexadecimal digits (RFC 9562); it loads as a string in lower case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not is_uuid(value):
            raise self.make_error("invalid_uuid")
        return value.lower()


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in 8-4-4-4-12 hexadecimal digits (RFC 9562)."""
    return _UUID.fullmatch(text) is not None


class MajorAmount(fields.Field):  # type: ignore[type-arg]
    """A JSON number of major units, such as 4.5 EUR; it loads as a Decimal, never as a float.

    `minimum` is only documented. The view checks the amount, because its number of decimals depends on the currency.
    """

    def __init__(self, description: str, minimum: int | None = None, **kwargs: Any) -> None:
        bounds = {} if minimum is None else {"minimum": minimum}
        super().__init__(metadata={"type": "number", **bounds, **describe(description, 100.0)}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ma.ValidationError("Must be a number.")
        return Decimal(value)


def within_years(moment: datetime) -> datetime:
    """Return the time, or the nearest one in the years 2 to 9998: seconds and offsets can be added to it.

    Nothing was recorded in the other years, so a search is the same.
    """
    earliest, latest = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
    return min(max(moment, earliest), latest)


class QueryTime(fields.Field):  # type: ignore[type-arg]
    """A time in a query or body, in RFC 3339 with an offset from UTC. Digits beyond microseconds are cut off."""

    def __init__(self, description: str, *, required: bool = False) -> None:
        about = describe(description, _TIME_EXAMPLE) if required else describe(description)
        super().__init__(metadata={"type": "string", "format": "date-time", **about}, required=required)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if _TIME.fullmatch(str(value)):
            try:
                return within_years(datetime.fromisoformat(str(value).upper()))
            except ValueError:
                pass  # such as February 30, or hour 25
        raise ma.ValidationError("Must be an RFC 3339 time, such as 2030-01-31T23:59:59Z (write + as %2B in a query).")
