"""The marshmallow schema and fields that both services' wire formats are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from chassis import money

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOW = "2026-03-14T09:26:53.589793Z"


_NO_EXAMPLE: Any = object()


def says(description: str, example: Any = _NO_EXAMPLE) -> dict[str, Any]:
    """A field's metadata: what OpenAPI says of it."""
    return {"description": description, **({} if example is _NO_EXAMPLE else {"example": example})}


class Schema(ma.Schema):
    """Base of all schemas: unknown fields are refused, in the order written."""

    class Meta:
        """Refuse what is not known."""

        unknown = ma.RAISE


class Integer(fields.Integer):
    """A JSON integer: not 1.0, not "1", not true."""

    def __init__(self, **kwargs: Any) -> None:
        """Take marshmallow's arguments."""
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
    """Money in minor units: 450 is 4.50 EUR."""

    def __init__(self, description: str, minimum: int = 0, example: int = 900, **kwargs: Any) -> None:
        """`minimum` and what a bigint holds are its bounds."""
        bounds = validate.Range(minimum, money.MAX_AMOUNT)
        super().__init__(validate=bounds, metadata=says(f"{description} In minor units.", example), **kwargs)


class QueryInteger(fields.Integer):
    """A number in a query, in ASCII digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", str(value)):
            raise self.make_error("invalid", input=value)
        return int(value)


class PageSize(QueryInteger):
    """How many a page of a list has at most: 1 to 100, and 20 unless said otherwise."""

    def __init__(self) -> None:
        """It is the same in all lists."""
        metadata = says("How many a page has at most.")
        super().__init__(validate=validate.Range(1, 100), load_default=20, metadata=metadata)


class NextCursor(fields.String):
    """Where the next page of a list begins."""

    def __init__(self) -> None:
        """It is the same in all lists."""
        super().__init__(allow_none=True, metadata=says("Where the next page begins; null on the last.", None))


class Labels(fields.Dict):
    """An object of strings to strings; what is wrong with a member is said of the member."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        except ma.ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            # marshmallow tells errors of keys from errors of values, which JSON pointers can't.
            flat = {name: [m for kind in what.values() for m in kind] for name, what in error.messages.items()}
            raise ma.ValidationError(flat) from error


class Text(fields.String):
    """A bounded string."""

    def __init__(self, maximum: int, minimum: int = 1, **kwargs: Any) -> None:
        """`minimum` to `maximum` characters."""
        extra = kwargs.pop("validate", [])
        super().__init__(validate=[validate.Length(minimum, maximum), *extra], **kwargs)


class Cursor(fields.String):
    """Where a page of a list begins; `paging` reads it, and says what is wrong with it."""

    def __init__(self, *, by_time: bool = False) -> None:
        """It is opaque to callers; in a list by time it is longer."""
        pattern = "^A[A-Za-z0-4][A-Za-z0-9_-]{30}$" if by_time else "^[A-Za-z0-9_-]{21}[AQgw]$"
        metadata = says("The `next_cursor` of the page before, as it is.")
        super().__init__(metadata={"pattern": pattern, **metadata})


class Time(fields.String):
    """A time in an answer: RFC 3339, UTC, with microseconds."""

    def __init__(self, description: str, **kwargs: Any) -> None:
        """`description` says of what."""
        super().__init__(metadata={"format": "date-time", **says(description, _NOW)}, **kwargs)


class Choice(fields.String):
    """One of some words; the first is the example of documents unless another is."""

    def __init__(self, words: Iterable[str], description: str, example: str | None = None, **kwargs: Any) -> None:
        """Take the words in the order in which documents list them."""
        words = [str(word) for word in words]
        super().__init__(validate=validate.OneOf(words), metadata=says(description, example or words[0]), **kwargs)


class Currency(fields.String):
    """An ISO 4217 code in capitals."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        code = super()._deserialize(value, attr, data, **kwargs)
        if code is None or not money.is_currency(code):
            raise ma.ValidationError("Must be an ISO 4217 currency code, such as EUR.")
        return code


class Id(fields.UUID):
    """A UUID, as a string in its usual spelling (RFC 9562): 8-4-4-4-12 hexadecimal digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise self.make_error("invalid_uuid")
        return value.lower()


class MajorAmount(fields.Field):  # type: ignore[type-arg]
    """A JSON number of major units, as the original sketch has them; read as a Decimal, never as a float."""

    def __init__(self, description: str, minimum: int | None = None, **kwargs: Any) -> None:
        """`minimum` is only said: how many decimals there may be, and so how much, depends on the currency."""
        bounds = {} if minimum is None else {"minimum": minimum}
        super().__init__(metadata={"type": "number", **bounds, **says(description, 100.0)}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ma.ValidationError("Must be a number.")
        return Decimal(value)


class Moment(fields.Field):  # type: ignore[type-arg]
    """A time in a query, as RFC 3339 has it: with its distance from UTC. Finer than a microsecond is cut off."""

    def __init__(self, description: str) -> None:
        """`description` says what it is for."""
        super().__init__(metadata={"type": "string", "format": "date-time", **says(description)})

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if _TIME.fullmatch(str(value)):
            try:
                return datetime.fromisoformat(str(value).upper())
            except ValueError:
                pass  # the 30th of February, or 25 o'clock
        raise ma.ValidationError("Must be a time of RFC 3339, such as 2030-01-31T23:59:59Z (a + is %2B in a query).")
