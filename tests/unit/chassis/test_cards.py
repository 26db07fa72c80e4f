from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chassis.cards import has_card_number, mask, passes_luhn

# Published test numbers of the card networks, with 13 to 19 digits.
CARDS = [
    "4222222222222",
    "38520000023237",
    "378282246310005",
    "4111111111111111",
    "5555555555554444",
    "6011111111111117",
    "6304000000000000000",
]


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    network = draw(st.sampled_from(["2221", "2720", "34", "37", "4", "51", "55", "62", "6011"]))
    length = draw(st.integers(13, 19))
    digits = network + draw(
        st.text("0123456789", min_size=length - 1 - len(network), max_size=length - 1 - len(network))
    )
    return next(digits + check for check in "0123456789" if passes_luhn(digits + check))


@pytest.mark.parametrize("number", CARDS)
def test_card_numbers_are_found_in_every_usual_notation(number: str) -> None:
    grouped = [number[at : at + 4] for at in range(0, len(number), 4)]
    for written in (number, " ".join(grouped), "-".join(grouped), "-".join(number), f"card:{number}.", f"x{number}y"):
        assert has_card_number(written), written
        assert not has_card_number(mask(written)), written


@pytest.mark.parametrize(
    "text",
    [
        "2 4111111111111111",
        "4111111111111111 12/27",
        "2 4111111111111111 12/27 123",
        "4111111111111111 4111111111111111",
        "12345 67890 4111-1111-1111-1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20091111\u20091111\u20091111",
        "4111  1111 - 1111\t1111",
        "4111 -- 1111 -- 1111 -- 1111",
        "id 01a20c83-fc90-73fd-b2b7-b61bc9c2a7af card 4111111111111111",
    ],
)
def test_card_numbers_next_to_other_digits_or_with_odd_spaces_are_found(text: str) -> None:
    assert has_card_number(text)
    assert not has_card_number(mask(text))
    assert "4111111111111111" not in mask(text).replace(" ", "").replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111111111111112",
        "411111111111",
        "41111111111111111111",
        "tea-100",
        "2026-11-24T07:08:43.489192Z",
        "00000000-0000-0000-0000-000000000000",
        "41111111-1111-4111-8111-111111111111",
    ],
)
def test_other_numbers_are_not_taken_for_card_numbers(text: str) -> None:
    assert not has_card_number(text)
    assert mask(text) == text


@given(st.uuids())
def test_a_uuid_is_never_taken_for_a_card_number(value: object) -> None:
    assert not has_card_number(str(value))
    assert mask(str(value)) == str(value)


@given(card_numbers(), st.sampled_from(["", " ", "-", " - "]), st.sampled_from([(1,), (2,), (4,), (4, 6, 9), (6, 13)]))
def test_any_card_number_is_found_in_any_usual_grouping(number: str, separator: str, lengths: tuple[int, ...]) -> None:
    groups, at = [], 0
    for length in itertools.chain(lengths, itertools.repeat(lengths[-1])):
        if at >= len(number):
            break
        groups.append(number[at : at + length])
        at += length
    assume(len(lengths) == 1 or len(groups[-1]) >= 3)
    assert has_card_number(f"x {separator.join(groups)} y")


@pytest.mark.parametrize(
    "made", [lambda n: str(1_767_225_600_000 + n), lambda n: f"order-20261124-{n:06}-1", lambda n: f"k1-9{n:08}-123"]
)
def test_names_made_of_times_dates_and_counters_are_not_taken_for_card_numbers(made: Callable[[int], str]) -> None:
    assert not [made(n) for n in range(1000) if has_card_number(made(n))]


@given(st.text(alphabet="0123456789 -abc.", max_size=60) | card_numbers())
def test_a_masked_text_contains_no_card_number(text: str) -> None:
    assert not has_card_number(mask(text))


@given(card_numbers(), st.text(alphabet="xyz,.:/", max_size=5), st.text(alphabet="xyz,.:/", max_size=5))
def test_a_mask_keeps_the_last_four_digits_and_the_text_around(number: str, before: str, after: str) -> None:
    assert mask(before + number + after) == f"{before}[card ...{number[-4:]}]{after}"


@given(card_numbers(), st.sampled_from("abcdef"))
def test_a_hexadecimal_id_is_never_taken_for_a_card_number(number: str, letter: str) -> None:
    for name in (f"{number}{letter}".ljust(32, "0"), f"{letter}{number}".ljust(16, "0")):
        assert not has_card_number(name)
        assert mask(name) == name


@given(st.text("0123456789", min_size=12, max_size=18))
def test_exactly_one_check_digit_passes_luhn(digits: str) -> None:
    assert sum(passes_luhn(digits + check) for check in "0123456789") == 1
