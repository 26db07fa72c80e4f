from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import cards
from chassis.cards import has_card_number, is_written_as_card, mask, masked_start
from chassis.folding import unescaped
from chassis.issuers import passes_luhn
from tests.support import cards as corpora

# Published test numbers of the card networks, with 13 to 19 digits.
PUBLISHED = [
    "4222222222222",
    "38520000023237",
    "378282246310005",
    "4111111111111111",
    "5555555555554444",
    "6011111111111117",
    "6304000000000000000",
]

RANDOM = random.Random(13)
card_numbers = st.integers(0, 2**32).map(lambda seed: corpora.card(random.Random(seed)))


@pytest.mark.parametrize("number", PUBLISHED)
def test_card_numbers_are_found_in_every_usual_notation(number: str) -> None:
    grouped = [number[at : at + 4] for at in range(0, len(number), 4)]
    for written in (number, " ".join(grouped), "-".join(grouped), "-".join(number), f"card:{number}.", f"x{number}y"):
        assert has_card_number(written), written
        assert is_written_as_card(written), written
        assert not has_card_number(mask(written)), written


@pytest.mark.parametrize(
    "text",
    [
        *("4111.1111.1111.1111", "4111_1111_1111_1111", "4111/1111/1111/1111", "4111:1111:1111:1111"),
        *("4111,1111,1111,1111", "4111+1111+1111+1111", "4111|1111|1111|1111", "4111\n1111\n1111\n1111"),
        *(
            f"4111{dash}1111{dash}1111{dash}1111"
            for dash in "\u00ad\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d\u30fc"
        ),
        *(f"4111{space}1111{space}1111{space}1111" for space in "\u00a0\u2009\u202f\u3000\u3164\u2800\u2028"),
        *(f"4111{gap}1111{gap}1111{gap}1111" for gap in "\u200b\u200c\u200d\u2060\ufeff\ufe0f\u0301"),
        *("4\u200b" + "1\u200b" * 15, "\uff14" + "\uff11" * 15, "\u0664" + "\u0661" * 15, "\u096a" + "\u0967" * 15),
        *("\u2463" + "\u2460" * 15, "\u2074" + "\u00b9" * 15, "\u56db" + "\u4e00" * 15, "4\ufe0f\u20e3" + "1" * 15),
        *("CC4111111111111111", "4111111111111111a", "a4111111111111111", "%B4111111111111111^DOE/J^2912101"),
        *("2 4111111111111111", "4111111111111111 12/27", "2 4111111111111111 12/27 123"),
        *("4111111111111111 4111111111111111", "12345 67890 4111-1111-1111-1111", "4111-1111-1111-1111-1227"),
        *("4111  1111 - 1111\t1111", "4111 -- 1111 -- 1111 -- 1111", "\uff23\uff23 4111111111111111"),
        "id 01a20c83-fc90-73fd-b2b7-b61bc9c2a7af card 4111111111111111",
    ],
)
def test_no_notation_hides_a_card_number(text: str) -> None:
    assert has_card_number(text)
    assert is_written_as_card(text)  # because it is a published test number
    assert not has_card_number(mask(text))
    assert "1111" * 3 not in "".join(char for char in mask(text) if char.isalnum())


@pytest.mark.parametrize(
    "separator",
    [
        *("%20", "%2D", "%2520", "%252520", "%C2%A0", "%E2%80%93", "%e2%80%8b", "%F0%9F%92%B3", "+", "%0a"),
        *("&nbsp;", "&#32;", "&#x2013;", "&#160;", "&amp;nbsp;", "&ndash;", "&#0000045;"),
        *("&NonBreakingSpace;", "&ZeroWidthSpace;", "&NegativeVeryThinSpace;", "&emsp13;", "&nbsp", "&amp;nbsp"),
        *("\\u0020", "\\u00a0", "\\\\u2013", "\\x20", "\\n", "\\t", "\\r\\n", "\\u200B"),
        *("\u2022", "\u2192", "\U0001f4b3", "\ue000", "\u0378", "\U000e0020", "\ufffc", "\ufffd", "\u0301", "\r\n"),
    ],
)
def test_escapes_and_symbols_between_the_groups_hide_no_card_number(separator: str) -> None:
    text = separator.join(["4539", "5787", "6362", "1486"])
    assert has_card_number(text)
    assert is_written_as_card(text)
    assert not has_card_number(mask(text))
    assert mask(f"<{text}>") == "<[card ...1486]>"


@pytest.mark.parametrize("zero", [0xE0030, 0xA8E0])
def test_a_card_number_in_digits_that_are_not_visible_is_found(zero: int) -> None:
    text = "".join(chr(zero + int(digit)) for digit in "4539578763621486")
    assert has_card_number(text)
    assert is_written_as_card(text)
    assert mask(f"<{text}>") == "<[card ...1486]>"


def test_digits_that_are_not_visible_hide_no_card_number_that_they_stand_in() -> None:
    text = "".join(f"{digit}{chr(0xE0030 + at % 10)}" for at, digit in enumerate("4539578763621486"))
    assert has_card_number(text)
    assert is_written_as_card(text)
    assert not has_card_number(mask(text))


@pytest.mark.parametrize("escape", ["%{:02X}", "%25{:02x}", "\\u{:04x}", "\\x{:02x}", "&#{};", "&#x{:x};", "&amp;#{};"])
def test_a_card_number_in_escaped_digits_is_found(escape: str) -> None:
    text = "".join(escape.format(ord(digit)) for digit in "4539578763621486")
    assert has_card_number(text)
    assert is_written_as_card(text)
    assert not has_card_number(mask(text))
    assert mask(text).endswith("[card ...1486]")
    assert len(mask(text)) < 30


@pytest.mark.parametrize(
    "text",
    [
        *("4,539,578,763,621,486", "4'539'578'763'621'486", "4,53,95,78,76,36,21,486", "4.539578763621486e15"),
        *("4-539578763621486", "45-395-7876-3621486", "4539 57 87 6362 1486", "4 539 5787 6362 1486"),
        *("45395787636214865555555555554444", "45395787636214861227", "45395787636214861227123", "04539578763621486"),
        *("0004539578763621486", "4539578763621486122027", "45395787636214862712", "[4,5,3,9,5,7,8,7,6,3,6,2,1,4,8,6]"),
        *('["4539","5787","6362","1486"]', "45395787-6362-1486-0000-000000000000", "100%4539578763621486"),
    ],
)
def test_no_grouping_and_no_data_behind_it_hides_a_card_number_in_free_text(text: str) -> None:
    assert has_card_number(text)
    assert not has_card_number(mask(text))
    assert "6362" not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        *("4111111111111111aaaaaaaa", "a" * 16 + "4111111111111111", "41111111-1111-1111-a000-000000000000"),
        *("41111111-1111-1111-0000-000000000000", "DE89 4111 1111 1111 1111 00"),
    ],
)
def test_an_identifier_hides_no_published_test_number(text: str) -> None:
    assert has_card_number(text)
    assert is_written_as_card(text)


@pytest.mark.parametrize(
    "text",
    [
        *("DE89 3704 0044 0532 0130 00", "GB33 BUKB 2020 1555 5555 55", "FR76 3000 6000 0112 3456 7890 189"),
        *("2026-11-30 07:08:43.489192", "Sizes 38, 40, 42", "100%25 of 12%", "a&b=1&c=2", "C:\\new\\table\\4539"),
    ],
)
def test_ibans_times_and_escapes_alone_are_not_taken_for_card_numbers(text: str) -> None:
    assert not has_card_number(text)
    assert not is_written_as_card(text)


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
        "356938035643809",
        "+4915112345678",
    ],
)
def test_other_numbers_are_not_taken_for_card_numbers(text: str) -> None:
    assert not has_card_number(text)
    assert not is_written_as_card(text)
    assert mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("4539 5787 6362 1486", "4539-5787-6362-1486", "4539.5787.6362.1486", "x-4539_5787_6362_1486-y"),
        *("3400 000000 00009", "4539\u200b578763621486", "4539578763621486 12/27", "4539578763621486|12|27"),
        *("card 4539578763621486", "PAN:4539578763621486", "4539578763621486 exp", "cvv-123-4539578763621486"),
        *("%B4539578763621486^DOE/J^2912101", ";4539578763621486=29121010000", "CC4539578763621486"),
    ],
)
def test_a_code_must_hold_nothing_that_is_written_as_a_card_number(text: str) -> None:
    assert is_written_as_card(text)
    assert has_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        *("4539578763621486", "ORD4539578763621486", "4006381333924", "card-4006381333924", "4915112345673"),
        *("453957-8763621486", "discard-4539578763621486", "4539578763621486-b"),
    ],
)
def test_a_code_may_be_a_long_number(text: str) -> None:
    assert not is_written_as_card(text)


@pytest.mark.parametrize(("name", "make"), corpora.HARMLESS.items())
def test_codes_that_are_no_cards_are_accepted(name: str, make: Callable[[random.Random], str]) -> None:
    codes, _ = corpora.refused(make, 10_000, seed=7)
    assert codes <= 1, name


@pytest.mark.parametrize("zero", corpora.SCRIPTS[1:])
def test_a_code_holds_no_card_number_in_digits_that_are_not_ascii(zero: str) -> None:
    text = "".join(chr(ord(zero) + int(digit)) for digit in "4539578763621486")
    assert is_written_as_card(text)
    assert is_written_as_card(f"453957876362{text[-4:]}")


def test_card_numbers_of_all_issuers_in_all_notations_are_found_in_free_text() -> None:
    chance = random.Random(7)
    missed = [text for text in (corpora.written(chance) for _ in range(5_000)) if not has_card_number(text)]
    assert len(missed) <= 5, missed


@given(st.uuids())
def test_a_uuid_is_never_taken_for_a_card_number(value: object) -> None:
    assert not has_card_number(str(value))
    assert mask(str(value)) == str(value)


@pytest.mark.parametrize(
    "made", [lambda n: str(1_767_225_600_000 + n), lambda n: f"order-20261124-{n:06}-1", lambda n: f"k1-9{n:08}-123"]
)
def test_names_made_of_times_dates_and_counters_are_not_taken_for_card_numbers(made: Callable[[int], str]) -> None:
    assert not [made(n) for n in range(1000) if has_card_number(made(n))]


@given(st.text(alphabet="0123456789 -abc.\u200b\uff14%&#;\\u", max_size=60) | card_numbers)
def test_a_masked_text_contains_no_card_number(text: str) -> None:
    assert not has_card_number(mask(text))


@given(card_numbers, st.text(alphabet="xyz;()", max_size=5), st.text(alphabet="xyz;()", max_size=5))
def test_a_mask_keeps_the_last_four_digits_and_the_text_around(number: str, before: str, after: str) -> None:
    assert mask(before + number + after) == f"{before}[card ...{number[-4:]}]{after}"


@given(
    card_numbers.filter(lambda number: len(number) < 20), st.sampled_from("abcdef"), st.sampled_from([24, 32, 40, 64])
)
def test_a_hexadecimal_id_is_never_taken_for_a_card_number(number: str, letter: str, length: int) -> None:
    for name in (f"{number}{letter}".ljust(length, "0"), f"{letter}{number}".rjust(length, "0")):
        assert not has_card_number(name)
        assert mask(name) == name


@pytest.mark.parametrize("text", ["4 " * 5_000, "4000 0000 0000 0001 " * 500, "x " + "2204 9999 " * 5_000])
def test_a_text_with_very_many_candidates_counts_as_one_with_a_card_number(text: str) -> None:
    assert has_card_number(text)
    assert not has_card_number(mask(text))


def test_the_start_of_a_text_is_cut_before_a_number_not_within() -> None:
    assert masked_start("short", 10) == "short"
    assert masked_start("a" * 600, 500) == "a" * 500 + "..."
    assert masked_start("a" * 490 + "4111111111111111", 500) == "a" * 490 + "..."
    assert masked_start("a" * 480 + "4111-1111-1111-1111 b", 500) == "a" * 480 + "..."
    assert masked_start("4" * 600, 500) == "..."


@given(st.text("0123456789", min_size=12, max_size=18))
def test_exactly_one_check_digit_passes_luhn(digits: str) -> None:
    assert sum(passes_luhn(digits + check) for check in "0123456789") == 1


@given(st.text("0123456789 .-/:;#=(x%&\\u", max_size=80))
def test_the_fast_check_never_hides_a_card_number(text: str) -> None:
    if not cards.may_have_card_number(text):
        assert next(cards._cards(text, code=False), None) is None
        assert next(cards._cards(unescaped(text), code=False), None) is None
