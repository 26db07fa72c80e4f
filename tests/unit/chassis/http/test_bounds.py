"""A bad request costs at most as much time and memory as the largest good one, and its response is small."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from chassis.http import fast_load, inspection, parsing
from chassis.http.fast_load import Load
from chassis.http.fields import Schema
from chassis.http.generic_problems import GENERIC
from chassis.http.inspection import Rule
from chassis.http.problems import MAX_ERRORS, Problem, render
from order import schemas
from order.webhooks.schemas import CreateEndpoint
from payment.batch_schemas import CommandBatch
from payment.schemas import CreatePayment

PLACE = schemas.PlaceOrder
ITEM = {
    "kind": "shipping",
    "sku": "s" * 100,
    "name": "\u00e9" * 200,
    "quantity": 2,
    "unit_amount": 450,
    "tax_amount": 144,
}
LARGEST: dict[str, Any] = {
    "currency": "EUR",
    "items": [ITEM] * 100,
    "customer": "c" * 100,
    "reference": "r" * 100,
    "payment_method": "p" * 100,
    "metadata": {f"{number}-".ljust(40, "k"): "\u00e9" * 500 for number in range(50)},
}
LOADERS: dict[type[Schema], tuple[Load, Rule]] = {
    kind: (fast_load.loader(kind()), inspection.rule_of(kind()))
    for kind in (PLACE, CreatePayment, CreateEndpoint, CommandBatch)
}


def text_of(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def padded(data: bytes) -> bytes:
    return data + b" " * (parsing.MAX_BODY - len(data))


def with_labels(value: str) -> bytes:
    return text_of({**LARGEST, "metadata": dict.fromkeys(LARGEST["metadata"], (value * 500)[:500])})


def with_names(value: str) -> bytes:
    return text_of({**LARGEST, "items": [{**ITEM, "name": (value * 200)[:200], "sku": (value * 100)[:100]}] * 100})


BAD = {
    "empty items": b'{"items":[' + b"{}," * 87_000 + b"{}]}",
    "empty lists": b'{"items":[' + b"[]," * 87_000 + b"[]]}",
    "as many items as are parsed": b'{"items":[' + b"{}," * 1_900 + b"{}]}",
    "all items are wrong": b'{"items":[' + b"{}," * 99 + b"{}]}",
    "items with unknown members": text_of({**LARGEST, "items": [{f"x{n}": 1 for n in range(30)}] * 100}),
    "numbers": b'{"a":[' + b"1," * 125_000 + b"1]}",
    "unknown members": text_of({f"k{number}": 1 for number in range(3_900)}),
    "unknown members with long names": text_of({"k" * 3_000 + str(number): 1 for number in range(80)}),
    "unknown members in full-width digits": text_of({"\uff14" * 20 + str(number): 1 for number in range(3_500)}),
    "labels": text_of({**LARGEST, "metadata": {f"k{number}": "1" for number in range(3_400)}}),
    "full-width digits": text_of({"customer": "\uff14" * 85_000}),
    "digits and dashes": text_of({"customer": "1-" * 125_000}),
    "zero-width characters": text_of({"customer": "4\u200b" * 65_000}),
    "a long unknown member": text_of({"k" * 250_000: 1}),
    "a long duplicate member": b'{"%s":1,"%s":1}' % (b"4" * 100_000, b"4" * 100_000),
    "texts below the limit": text_of({"a": ["4" * 12 + "x1-1-1-" * 280] * 120}),
    "commas in a text": text_of({"customer": "," * 250_000}),
    "escaped quotes": b'{"a":"' + b'\\"' * 125_000,
    "brackets": b"[" * 250_000,
    "objects in objects": b'{"a":' * 50_000,
    "lists in lists, often": b'{"a":[' + (b"[" * 900 + b"]" * 900 + b",") * 100 + b"1]}",
    "digits": b'{"a":' + b"9" * 250_000 + b"}",
    "decimals": b'{"a":0.' + b"9" * 250_000 + b"}",
    "many decimals": b'{"a":[' + (b"0." + b"9" * 9_000 + b",") * 28 + b"1]}",
    "a total of many digits": b'{"total":0.' + b"9" * 9_000 + b"}",
    "labels like cards": with_labels("4000 0000 0000 0001 "),
    "labels that begin like cards": with_labels("22 0 5 "),
    "labels of single digits": with_labels("4 "),
    "labels of zero-width characters": with_labels("4\u200b"),
    "names of single digits": with_names("4-"),
    "names that begin like cards": with_names("22 0 5 "),
}


def outcome(data: bytes, schema: type[Schema] = PLACE) -> Problem | None:
    """Load a body as a view does. Return the problem, if any."""
    load, rule = LOADERS[schema]
    try:
        text = parsing._decode(data)
        parsing.load_json(load, rule, parsing._parse(text), suspicious=inspection.is_suspicious(text))
    except Problem as problem:
        render(problem, GENERIC, base="", instance="/v1/orders")
        return problem
    return None


def seconds(data: bytes, schema: type[Schema]) -> float:
    began = time.perf_counter()
    outcome(data, schema)
    return time.perf_counter() - began


def peak(data: bytes, schema: type[Schema]) -> int:
    tracemalloc.start()
    outcome(data, schema)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


GOOD = padded(with_labels("\uff14"))  # numbers of 500 digits are no card numbers


def test_the_largest_good_body_is_accepted() -> None:
    assert outcome(GOOD) is None


@pytest.mark.parametrize("schema", LOADERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_costs_at_most_as_much_as_the_largest_good_one(name: str, schema: type[Schema]) -> None:
    data = BAD[name][: parsing.MAX_BODY]
    problem = outcome(data, schema)
    assert problem is not None
    assert peak(data, schema) <= 1.5 * peak(GOOD, PLACE)
    good = took = float("inf")
    for _ in range(10):  # alternately, because other processes of this machine slow both down
        good, took = min(good, seconds(GOOD, PLACE)), min(took, seconds(data, schema))
        if took <= good:
            break
    assert took <= 2 * good, f"{took * 1000:.1f} ms instead of {good * 1000:.1f} ms"


@pytest.mark.parametrize("schema", LOADERS)
@pytest.mark.parametrize("name", BAD)
def test_the_response_to_a_bad_body_is_small(name: str, schema: type[Schema]) -> None:
    problem = outcome(BAD[name][: parsing.MAX_BODY], schema)
    if problem is not None:
        body = render(problem, GENERIC, base="", instance="/" + "%F0%9F%92%B3" * 500, request_id="r" * 128).body
        assert len(body) <= 64 * 1024
        assert len(json.loads(body).get("errors", [])) <= MAX_ERRORS


def test_a_problem_says_how_many_more_errors_there_are() -> None:
    problem = outcome(text_of({**LARGEST, "items": [{}] * 100}))
    assert problem is not None
    body = json.loads(render(problem, GENERIC, base="", instance="/").body)
    assert body["detail"] == "300 fields are not valid. The first 50 are listed."
    assert (len(body["errors"]), body["more_errors"]) == (50, 250)


def test_the_longest_texts_that_a_client_can_cause_fit_64_kib() -> None:
    names = ["\U0001f4b3" * 100 + str(number) for number in range(60)]
    errors = [{"pointer": "/~0" * 400 + name, "detail": "\U0001f4b3" * 600} for name in names]
    problem = Problem("validation", "\U0001f4b3" * 5_000, errors)
    rendered = render(problem, GENERIC, base="", instance="/" + "%F0%9F%92%B3" * 5_000, request_id="r" * 128)
    assert len(rendered.body) <= 64 * 1024
    body = json.loads(rendered.body)
    assert len(body["errors"]) + body["more_errors"] == len(errors)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({**LARGEST, "items": [{}] * 101}, "/items", "Length must be between 1 and 100."),
        ({**LARGEST, "items": []}, "/items", "Length must be between 1 and 100."),
        ({**LARGEST, "metadata": {f"k{n}": 1 for n in range(51)}}, "/metadata", "Longer than maximum length 50."),
        ({**LARGEST, **{f"k{n}": 1 for n in range(100)}}, "", "Has 106 members, of which 7 are known."),
        (
            {**LARGEST, "items": [{f"k{n}": 1 for n in range(100)}]},
            "/items/0",
            "Has 100 members, of which 6 are known.",
        ),
    ],
)
def test_the_length_of_a_list_or_object_is_its_only_error(body: Any, pointer: str, detail: str) -> None:
    problem = outcome(text_of(body))
    assert problem is not None
    assert problem.errors == [{"pointer": pointer, "detail": detail}]


def test_a_long_name_is_cut_and_a_card_in_it_is_masked() -> None:
    problem = outcome(text_of({**LARGEST, "n" * 5_000: 1}))
    assert problem is not None
    assert problem.errors == [{"pointer": "/" + "n" * inspection.MAX_NAME + "...", "detail": "Unknown field."}]


CODES = {
    "EAN-13": "4006381333924",
    "IMEI": "356938035643809",
    "a phone number": "+4915112345678",
    "an order number": "4539578763621486",
    "an id of a load generator": "k1-900000123-123",
}
WRITTEN = [
    *("4539-5787-6362-1486", "4539.5787.6362.1486", "4539_5787_6362_1486", "4539\u200b5787\u200b6362\u200b1486"),
    *("card 4539578763621486", "%B4539578763621486^DOE/J^2912101", "4111111111111111", "CC4111111111111111"),
]
HIDDEN = [*WRITTEN, "4539578763621486", "CC4539578763621486", "4539578763621486a", "\uff14539578763621486"]


def order_with(field: str, value: Any) -> bytes:
    body: dict[str, Any] = {
        "currency": "EUR",
        "items": [{"sku": "tea", "quantity": 1, "unit_amount": 1}],
        "payment_method": "pm_ok",
    }
    if field in ("sku", "name"):
        body["items"][0][field] = value
    elif field == "label":
        body["metadata"] = {value: "x"}
    elif field == "metadata":
        body["metadata"] = {"a": value}
    else:
        body[field] = value
    return json.dumps(body).encode()


@pytest.mark.parametrize("field", ["sku", "customer", "label"])
@pytest.mark.parametrize("name", CODES)
def test_a_code_may_be_any_long_number(field: str, name: str) -> None:
    assert outcome(order_with(field, CODES[name])) is None


@pytest.mark.parametrize("field", ["sku", "customer", "label"])
@pytest.mark.parametrize("value", WRITTEN)
def test_a_code_that_is_written_as_a_card_number_is_refused(field: str, value: str) -> None:
    problem = outcome(order_with(field, value))
    assert problem is not None
    assert problem.name == "card-number"


@pytest.mark.parametrize("field", ["name", "metadata", "payment_method"])
@pytest.mark.parametrize("value", HIDDEN)
def test_free_text_with_a_card_number_is_refused(field: str, value: str) -> None:
    problem = outcome(order_with(field, value))
    assert problem is not None
    assert problem.name == "card-number"
    pointer = {"name": "/items/0/name", "metadata": "/metadata/a", "payment_method": "/payment_method"}[field]
    assert problem.errors == [{"pointer": pointer, "detail": "Must not hold a card number."}]


@pytest.mark.parametrize("field", ["customer", "metadata", "name", "other"])
def test_a_card_number_as_a_json_number_is_refused(field: str) -> None:
    for value in (4111111111111111, -4111111111111111, [4111111111111111], {"x": 4111111111111111}):
        problem = outcome(order_with(field, value))
        assert problem is not None
        assert problem.name == "card-number"


@pytest.mark.parametrize(
    "parts", [["45395787", "63621486"], ["4539", "5787", "6362", "1486"], ["4539578763621", "486"]]
)
def test_numbers_of_several_texts_are_not_one_number(parts: list[str]) -> None:
    items = [{"sku": "tea", "name": part, "quantity": 1, "unit_amount": 1} for part in parts]
    body = {
        "currency": "EUR",
        "items": items,
        "payment_method": "pm_ok",
        "metadata": {str(at): part for at, part in enumerate(parts)},
    }
    assert outcome(text_of(body)) is None


@pytest.mark.parametrize("sku", ["4539578763621486 card", "visa 4539578763621486"])
def test_a_word_at_the_end_of_a_code_still_marks_a_card_number(sku: str) -> None:
    items = [{"sku": each, "quantity": 1, "unit_amount": 1} for each in ("tea", sku, "cup")]
    problem = outcome(text_of({"currency": "EUR", "items": items, "payment_method": "pm_ok", "customer": "c"}))
    assert problem is not None
    assert problem.errors == [{"pointer": "/items/1/sku", "detail": "Must not hold a card number."}]


@pytest.mark.parametrize("field", ["customer", "metadata", "name", "other"])
@pytest.mark.parametrize("number", ["1e1000000", "-1.5e999999999999999999", "1e-999999999999999999"])
def test_a_number_of_any_size_is_inspected(field: str, number: str) -> None:
    other = b'{"note":"\\u0061",'  # an escape makes the body suspicious
    problem = outcome(order_with(field, "NUMBER").replace(b"{", other, 1).replace(b'"NUMBER"', number.encode()))
    assert problem is not None
    assert problem.name == "validation"


def test_a_large_amount_is_not_taken_for_a_card_number() -> None:
    body = {"order_id": "018f6f6e-7b7a-7cc0-8000-000000000000", "currency": "EUR", "payment_method": "pm_ok"}
    assert outcome(text_of({**body, "amount": 4111111111111111}), CreatePayment) is None


def command_with(payload: dict[str, Any], **headers: str) -> bytes:
    command = {"id": "018f6f6e", "merchant": "demo", "topic": "payment.create", "payload": payload}
    return text_of({"commands": [{**command, "headers": headers}]})


def test_headers_of_a_command_that_have_no_card_number_each_have_none_together() -> None:
    traceparent = "00-61d6ea92bd20212a0d0d89a981612805-29b55232f273a41a-01"
    headers = {"tracestate": "a=3963979508864", "traceparent": traceparent}
    assert outcome(command_with({"amount": 900}, **headers), CommandBatch) is None


def test_a_large_amount_of_a_command_is_not_taken_for_a_card_number() -> None:
    assert outcome(command_with({"amount": 4111111111111111}), CommandBatch) is None


@pytest.mark.parametrize("field", ["payment_method", "reason", "other"])
@pytest.mark.parametrize("value", ["4539578763621486", 4539578763621486])
def test_a_card_number_in_a_command_is_refused(field: str, value: Any) -> None:
    problem = outcome(command_with({"amount": 900, field: value}), CommandBatch)
    assert problem is not None
    assert (problem.name, problem.errors[0]["pointer"]) == ("card-number", f"/commands/0/payload/{field}")


@pytest.mark.parametrize(("begin", "end"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_a_body_has_at_most_twenty_levels(begin: bytes, end: bytes) -> None:
    bodies = [b'{"a":%s{}%s}' % (begin * inner, end * inner) for inner in (18, 19)]
    names = [problem.name for problem in map(outcome, bodies) if problem is not None]
    assert names == ["validation", "malformed-request"]
