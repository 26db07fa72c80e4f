from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import marshmallow as ma
import pytest
from hypothesis import given
from hypothesis import strategies as st

import order.schemas
from chassis.http import fast_load, inspection, parsing
from chassis.http.generic_problems import GENERIC
from chassis.http.problems import Problem, render

TEXTS = st.text(st.characters(categories=["L", "Zs", "P"]), max_size=8)
OBJECTS = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def refused(data: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        inspection.inspect(parsing.parse_json(data).items())
    return caught.value


PLACE = fast_load.loader(order.schemas.PlaceOrder())
PLACE_RULE = inspection.rule_of(order.schemas.PlaceOrder())


def placed(data: bytes) -> Any:
    """Load a body as the view that places an order does."""
    suspicious = inspection.is_suspicious(data.decode())
    return parsing.load_json(PLACE, PLACE_RULE, parsing.parse_json(data), suspicious=suspicious)


# Parts of JSON texts: digits of cards in strings, UUIDs and numbers, some of which look like hashes.
_DIGITS = st.sampled_from(["4539578763621486", "4539-5787-6362-1486", "45395787-6362-1486-0000-000000000000"])
_UUIDS = st.uuids().map(str) | st.text("0123456789", min_size=32, max_size=32).map(
    lambda digits: f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
)
_VALUES = st.one_of(
    st.tuples(st.sampled_from(["", "a", "card ", "f"]), _DIGITS | _UUIDS, st.sampled_from(["", "-", "b", "0"])).map(
        lambda parts: f'"{"".join(parts)}"'
    ),
    st.builds(
        lambda zeros, exponent: f"4539578763621486{'0' * zeros}e-{zeros + exponent}",
        st.integers(0, 20),
        st.integers(0, 2),
    ),
)


@given(st.lists(st.tuples(st.sampled_from(["id", "note", "4539578763621486"]), _VALUES), max_size=4))
def test_the_fast_check_of_a_body_hides_nothing_that_inspection_finds(members: list[tuple[str, str]]) -> None:
    text = "{" + ",".join(f'"{name}{number}":{value}' for number, (name, value) in enumerate(members)) + "}"
    if not inspection.is_suspicious(text):
        inspection.inspect(parsing.parse_json(text.encode()).items())


def test_a_number_that_looks_like_a_hash_is_inspected() -> None:
    text = '{"a":45395787636214860000000e-7}'  # 24 hexadecimal digits, and the value is a card number
    assert inspection.is_suspicious(text)
    assert refused(text.encode()).name == "card-number"


def test_a_body_of_uuids_is_not_suspicious() -> None:
    ids = [f"01a2270c-356d-7004-8{number:03}-79093988{number:04}" for number in range(100)]
    assert not inspection.is_suspicious(json.dumps(ids))


@given(OBJECTS)
def test_json_of_the_standard_library_is_parsed(body: dict[str, Any]) -> None:
    assert parsing.parse_json(json.dumps(body).encode()) == body
    assert parsing.parse_json(json.dumps(body, ensure_ascii=False, indent=2).encode()) == body


def test_an_empty_body_is_an_empty_object() -> None:
    assert parsing.parse_json(b"") == {}


@pytest.mark.parametrize("data", [b" ", b"\n", b"\r\n\t "])
def test_white_space_alone_is_refused(data: bytes) -> None:
    assert refused(data).name == "malformed-request"


def test_numbers_keep_every_digit() -> None:
    body = parsing.parse_json(b'{"a": 0.1, "b": 1.0, "c": 1e2, "d": 1e400, "e": 100000000000000000.01, "f": 1}')
    assert body == {
        "a": Decimal("0.1"),
        "b": Decimal("1.0"),
        "c": Decimal(100),
        "d": Decimal("1e400"),
        "e": Decimal("100000000000000000.01"),
        "f": 1,
    }
    assert {name: type(value) for name, value in body.items()} == {**dict.fromkeys("abcde", Decimal), "f": int}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1', "at line 1, column"),
        (b"{'a': 1}", "at line 1, column"),
        (b'{"a": 1} x', "at line 1, column"),
        (b'{"a": 01}', "at line 1, column"),
        (b'{"a": .5}', "at line 1, column"),
        (b'{"a": "\t"}', "Invalid control character at line 1, column"),
        (b'{"a": "b', "Unterminated string starting at line 1, column"),
        (b'{"a": "\x00"}', "at line 1, column"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": [Infinity]}', "Infinity is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1, "a": 1}', '"a" occurs twice'),
        (b'{"x": {"a": 1, "b": 2, "a": 3}}', '"a" occurs twice'),
        (b'{"a": 1, "\\u0061": 1}', '"a" occurs twice'),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"a": ' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": 1E+1000000000000000000}', "out of range"),
        (b'{"a": [{"b": -1e9999999999999999999999}]}', "out of range"),
        (b'{"a": ' + b"9" * 5000 + b"}", "out of range"),
    ],
)
def test_malformed_json_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    problem = refused(data)
    assert problem.name == "malformed-request"
    assert reason in problem.detail


@pytest.mark.parametrize("data", [b"[]", b"null", b"true", b"1", b'"a"', b"[{}]"])
def test_a_body_must_be_an_object(data: bytes) -> None:
    assert refused(data).name == "malformed-request"


def test_twenty_levels_are_parsed_and_many_more_are_refused() -> None:
    assert parsing.parse_json(b'{"a": ' + b"[" * 19 + b"]" * 19 + b"}")
    assert refused(b'{"a": ' + b"[" * 50 + b"]" * 50 + b"}").name == "malformed-request"


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b'{"a": "\\u0000"}', "/a"),
        (b'{"a": ["x", "\\u001f"]}', "/a/1"),
        (b'{"a": "\\u007f"}', "/a"),
        (b'{"a": "\\u0085"}', "/a"),
        (b'{"a": "\\n"}', "/a"),
        (b'{"a": "\\ud800"}', "/a"),
        (b'{"a": "\\udfff\\ud800"}', "/a"),
        (b'{"a": {"b\\u0000": 1}}', "/a"),
        (b'{"\\ud800": 1}', ""),
        (b'{"a/b": {"~": "\\u0000"}}', "/a~1b/~0"),
    ],
)
def test_control_characters_and_lone_surrogates_are_refused_with_a_pointer(data: bytes, pointer: str) -> None:
    problem = refused(data)
    assert problem.name == "validation"
    assert [error["pointer"] for error in problem.errors] == [pointer]


def test_a_surrogate_pair_is_one_character() -> None:
    assert parsing.parse_json(b'{"a": "\\ud83c\\udf75"}') == {"a": "\N{TEACUP WITHOUT HANDLE}"}


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b'{"a": "4111111111111111"}', "/a"),
        (b'{"a": {"b": ["4111 1111 1111 1111"]}}', "/a/b/0"),
        (b'{"a": "paid with 4111-1111-1111-1111, thanks"}', "/a"),
        (b'{"a": "\\u0034111111111111111"}', "/a"),
        (b'{"m": {"4111111111111111": "x"}}', "/m"),
        (b'{"a": "2 4111111111111111"}', "/a"),
        (b'{"a": "4111111111111111 12/27"}', "/a"),
        (b'{"a": "4111\\u00a01111\\u00a01111\\u00a01111"}', "/a"),
        (b'{"a": "4111\\u2009-\\u20091111 - 1111--1111"}', "/a"),
    ],
)
def test_card_numbers_are_refused_with_a_pointer_and_not_repeated(data: bytes, pointer: str) -> None:
    problem = refused(data)
    assert problem.name == "card-number"
    assert [error["pointer"] for error in problem.errors] == [pointer]
    assert b"1111" not in render(problem, GENERIC, base="", instance="/").body


def test_a_card_number_that_is_a_duplicate_key_is_not_repeated() -> None:
    assert "4111111" not in refused(b'{"4111111111111111": 1, "4111111111111111": 2}').detail


@given(OBJECTS)
def test_equal_bodies_have_the_same_canonical_form(body: dict[str, Any]) -> None:
    turned = dict(reversed(body.items()))
    assert parsing.canonical(parsing.parse_json(json.dumps(turned, indent=1).encode())) == parsing.canonical(body)


def test_different_bodies_have_different_canonical_forms() -> None:
    texts = [b'{"a":1}', b'{"a":"1"}', b'{"a":true}', b'{"a":null}', b'{"a":[1]}', b'{"a":{"b":1}}', b'{"b":1}', b"{}"]
    assert len({parsing.canonical(parsing.parse_json(text)) for text in texts}) == len(texts)


def test_nested_messages_become_flat_pointers() -> None:
    messages = {
        "items": {0: {"quantity": ["too small", "too odd"]}, 2: {"_schema": ["not an object"]}},
        "a/b": {"c~d": ["bad"]},
        "_schema": ["as a whole"],
    }
    problem = parsing.not_valid(ma.ValidationError(messages))
    assert problem.detail == "5 fields are not valid."
    assert problem.errors == [
        {"pointer": "/items/0/quantity", "detail": "too small"},
        {"pointer": "/items/0/quantity", "detail": "too odd"},
        {"pointer": "/items/2", "detail": "not an object"},
        {"pointer": "/a~1b/c~0d", "detail": "bad"},
        {"pointer": "", "detail": "as a whole"},
    ]


@given(st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=inspection.MAX_NAME))  # without card numbers
def test_an_escaped_key_can_be_unescaped(key: str) -> None:
    token = inspection.escape(key)
    assert "/" not in token
    assert token.replace("~1", "/").replace("~0", "~") == key


@pytest.mark.parametrize(
    "body",
    [
        {"b": 1, "a": [None, True, {"z": "x", "y": -(2**63)}]},
        {"a": '"\\/\b\f\n\r\t\x00\x1f ~'},
        {"a": "\x7f"},
        {"a": "é", "é": "a"},
        {"😀": 1, "\uffff": 2},
        {"a": "\ud800"},
        {"a": Decimal("1.50"), "b": 2**70},
        {"a": json.loads("[" * 300 + "]" * 300)},
        {},
    ],
    ids=range(9),
)
def test_the_canonical_form_has_the_bytes_that_fingerprints_were_made_of(body: dict[str, Any]) -> None:
    expected = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str).encode()
    assert parsing.canonical(body) == expected
