"""What fields accept, and what they say of a value that they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import ValidationError, fields, validate

from chassis.http.fields import Labels, List, PageSize, QueryTime


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


@pytest.mark.parametrize("text", ["-1", "0", "101", "9" * 19, "-" + "9" * 4000])
def test_an_integer_outside_of_its_range_is_told_the_range(text: str) -> None:
    assert refusal(PageSize(), text) == ["Must be greater than or equal to 1 and less than or equal to 100."]


@pytest.mark.parametrize("text", ["", "-", "+1", "1.0", "1e1", "1_0", "\uff11", " 1"])
def test_a_text_in_a_query_that_is_no_integer_is_refused(text: str) -> None:
    assert refusal(PageSize(), text) == ["Not a valid integer."]


@pytest.mark.parametrize("value", [{}, {"a": 1}, {str(number): 1 for number in range(9)}])
def test_an_object_instead_of_a_list_is_not_told_a_length(value: Any) -> None:
    assert refusal(List(fields.String(), validate=validate.Length(1, 2)), value) == ["Not a valid list."]


@pytest.mark.parametrize("value", [[], ["a"], ["a"] * 9])
def test_a_list_instead_of_an_object_is_not_told_a_length(value: Any) -> None:
    labels = Labels(keys=fields.String(), values=fields.String(), validate=validate.Length(1, 2))
    assert refusal(labels, value) == ["Not a valid mapping type."]
