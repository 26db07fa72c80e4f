"""What fields accept, and what they say of a value that they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import ValidationError, fields

from chassis.http.fields import QueryTime


def refusal(field: fields.Field[Any], value: Any) -> list[str]:
    """Return what a field says of a value that it must refuse."""
    with pytest.raises(ValidationError) as caught:
        field.deserialize(value)
    return list(caught.value.messages)


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T23:59:59Z",
        "2030-01-31t23:59:59.123456789z",
        "2030-01-31T23:59:59-00:00",
        "2030-01-31T23:59:59+23:59",
    ],
)
def test_a_time_of_rfc_3339_is_read(text: str) -> None:
    assert QueryTime("").deserialize(text).utcoffset() is not None


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T12345678Z",
        "2030-01-31T123456.5Z",
        "2030-01-31T12:34:5:Z",
        "2030-01-31T::::::::Z",
        "2030-01-31T12:34:56+00:60",
        "2030-01-31T12:34:56+00:99",
        "2030-01-31T12:34:56+24:00",
        "2030-01-31T12:34:56+0000",
        "2030-01-31 12:34:56Z",
        "2030-02-30T12:34:56Z",
    ],
)
def test_another_notation_of_a_time_is_refused(text: str) -> None:
    (said,) = refusal(QueryTime(""), text)
    assert said.startswith("Must be an RFC 3339 time")
