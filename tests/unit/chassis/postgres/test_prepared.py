"""psycopg's placeholders are replaced by numbered ones."""

from __future__ import annotations

from chassis.postgres.prepared import _positional


def test_a_name_that_occurs_twice_is_one_parameter() -> None:
    text, values = _positional("SELECT %(a)s, %(b)s::text, %(a)s WHERE x LIKE 'y%%'")
    assert text == "SELECT $1, $2::text, $1 WHERE x LIKE 'y%'"
    assert values({"b": 2, "a": 1, "other": 3}) == (1, 2)


def test_a_single_name_is_a_sequence_of_one() -> None:
    text, values = _positional("SELECT %(a)s")
    assert text == "SELECT $1"
    assert values({"a": "long"}) == ("long",)


def test_placeholders_without_names_keep_their_order() -> None:
    text, values = _positional("SELECT %s, %s, 1 %% 2")
    assert text == "SELECT $1, $2, 1 % 2"
    assert values(("x", "y")) == ("x", "y")
