"""The lines of an order and their sum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order.lines import Kind, amount, faults, placed, total

MAX = 2**63 - 1

KINDS = st.sampled_from([str(kind) for kind in Kind])


def line(quantity: int, unit_amount: int, kind: str = "item", **more: Any) -> dict[str, Any]:
    return {"sku": "x", "kind": kind, "quantity": quantity, "unit_amount": unit_amount, **more}


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(-(10**12), 10**12)), max_size=100))
def test_a_total_is_the_exact_sum_or_an_error(lines: list[tuple[int, int]]) -> None:
    exact = sum(quantity * unit_amount for quantity, unit_amount in lines)
    these = [line(*each) for each in lines]
    if 0 <= exact <= MAX:
        assert total(these) == exact
    else:
        with pytest.raises(ValueError, match="larger than an amount can be" if exact > 0 else "is negative"):
            total(these)


def test_a_total_ends_at_the_largest_amount_and_at_zero() -> None:
    assert total([line(1, MAX)]) == MAX
    assert total([line(1, MAX), line(1, 1), line(1, -1, "discount")]) == MAX
    assert total([line(2, 450), line(1, -900, "discount")]) == 0
    with pytest.raises(ValueError, match="larger"):
        total([line(1, MAX), line(1, 1)])
    with pytest.raises(ValueError, match=r"^The total is negative"):
        total([line(2, 450), line(1, -901, "discount")])


@given(KINDS, st.integers(1, 10**6), st.integers(-(10**12), 10**12), st.none() | st.integers(-(10**18), 10**18))
def test_a_line_has_the_sign_of_its_kind_and_contains_its_tax(kind: str, quantity: int, unit: int, tax: int) -> None:
    this = line(quantity, unit, kind, tax_amount=tax)
    found = dict(faults(this))
    signed = unit <= 0 if kind == "discount" else unit >= 0
    contained = tax is None or (abs(tax) <= abs(quantity * unit) and tax * unit >= 0)
    assert ("unit_amount" in found) == (not signed)
    assert ("tax_amount" in found) == (signed and not contained)


def test_a_line_is_kept_with_its_amount_and_all_members() -> None:
    assert placed(line(3, -5, "discount")) == {
        "kind": "discount", "sku": "x", "name": None, "quantity": 3, "unit_amount": -5, "amount": -15,
        "tax_amount": None,
    }  # fmt: skip
    assert placed(line(1, 119, name="Tea", tax_amount=19)) == line(1, 119, name="Tea", tax_amount=19, amount=119)
    assert amount(line(2, 0)) == 0


def test_a_refusal_of_a_tax_amount_has_the_lower_bound_first() -> None:
    (of_item,) = faults(line(2, 5, tax_amount=11))
    assert of_item == ("tax_amount", "Must be between 0 and 10: it is a part of the amount of the line, 10.")
    (of_discount,) = faults(line(2, -5, "discount", tax_amount=1))
    assert of_discount == ("tax_amount", "Must be between -10 and 0: it is a part of the amount of the line, -10.")
