from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.http.prefer import wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=0", 0),
        ("wait=5", 5),
        ("wait=10", 10),
        ("wait=11", 10),
        ("wait=99999999999999999999", 10),
        ("Wait=3", 3),
        ('wait="5"', 5),
        ("wait = 7", 7),
        ("respond-async, wait=4", 4),
        ("wait=4, respond-async", 4),
        ("wait=4;detail=x", 4),
        ('return=minimal; foo="a, wait=3", wait=4', 4),
        (",,wait=2,", 2),
        ("wait=2, wait=9", 2),
        ("respond-async, Wait=0, wait=5", 0),
    ],
)
def test_seconds_are_parsed_as_in_rfc_7240(header: str, seconds: int) -> None:
    assert wait(header) == seconds


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "wait",
        "wait=",
        "wait=-1",
        "wait=1.5",
        "wait=soon",
        "wait=٣",
        "wait=1e1",
        "waits=3",
        'foo="wait=3"',
        'foo="a, wait=3"',
        "=;=,",
        'a="',
        "wait=soon, wait=5",
        "wait, wait=5",
        "wait=２",
    ],
)
def test_an_invalid_wait_is_ignored(header: str | None) -> None:
    assert wait(header) is None


@given(st.text())
def test_any_text_is_parsed_without_an_error(header: str) -> None:
    assert wait(header) in (None, *range(11))
