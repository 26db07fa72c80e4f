"""Every regular expression that meets a text from outside takes linear time, whatever the text."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from marshmallow import validate

import chassis
import order
import payment
import tandem_client
from chassis import cards
from chassis.folding import fold
from chassis.http.fields import Schema
from chassis.http.parsing import MAX_BODY
from chassis.server.request_buffer import MAX_HEAD
from order import snapshots

APPS = Path(__file__).parents[2] / "apps"

HEADER = 8 * 1024
LINE = 4094
URL = 2000
SEARCHED_SIZE = 64 * 1024  # more than all texts of the longest valid body

# The characters of the longest text that each pattern meets.
LARGEST = {
    "chassis.auth.keyring._MERCHANT": HEADER,
    "chassis.auth.stored_keys._FORMAT": HEADER,
    "chassis.cards._AFTER_TRACK": 24,
    "chassis.cards._ANY": SEARCHED_SIZE,
    "chassis.cards._ANY_ASCII": MAX_BODY,
    "chassis.cards._EXPIRY": 24,
    "chassis.cards._DATA": SEARCHED_SIZE,
    "chassis.cards._LONG": SEARCHED_SIZE,
    "chassis.cards._START": SEARCHED_SIZE,
    "chassis.cards._WORDS": 96,
    "chassis.folding._ESCAPE": MAX_BODY,
    "chassis.folding._HIDDEN": MAX_BODY,
    "chassis.folding._LAST_HEX": SEARCHED_SIZE,
    "chassis.identifiers._IBAN": SEARCHED_SIZE,
    "chassis.identifiers._RANDOM": SEARCHED_SIZE,
    "chassis.identifiers._TEST_NUMBER": SEARCHED_SIZE,
    "chassis.identifiers._UUID": MAX_BODY,
    "chassis.derived_ids._UUID7": HEADER,
    "chassis.http.fields._NUMBER": LINE,
    "chassis.http.fields._TIME": LINE,
    "chassis.http.fields._UUID": MAX_BODY,
    "chassis.http.idempotency._ESCAPED": HEADER,
    "chassis.http.idempotency._QUOTED": HEADER,
    "chassis.http.idempotency._VISIBLE": HEADER,
    "chassis.http.if_match._LIST": HEADER,
    "chassis.http.if_match._STRONG": HEADER,
    "chassis.http.inspection._CONTROL": MAX_BODY,
    "chassis.http.inspection._UNUSUAL": MAX_BODY,
    "chassis.http.paging._NAME": LINE,
    "chassis.http.parsing._STRING": MAX_BODY,
    "chassis.http.problems._HOST": HEADER,
    "chassis.server.request_buffer._CHUNKED": MAX_HEAD,
    "chassis.server.request_buffer._EXPECT": MAX_HEAD,
    "chassis.server.request_buffer._LENGTH": MAX_HEAD,
    "chassis.server.request_buffer._SIZE": 8 * 1024,
    "chassis.service._REQUEST_ID": HEADER,
    "chassis.telemetry.trace_context._TRACEPARENT": HEADER,
    "chassis.telemetry.trace_context._TRACESTATE": HEADER,
    "order.operator.access._PATH": MAX_BODY,
    "order.operator.access._TOKEN": HEADER,
    "order.operator.actions._NUMBER": MAX_BODY,
    "order.operator.offers._AMOUNT": MAX_BODY,
    "order.operator.order_actions._VERSION": MAX_BODY,
    "order.webhooks.addresses._HOST": URL,
    "order.webhooks.addresses._REST": URL,
    "order.webhooks.proxy._NUMBER": URL,
    "tandem_client.attempt._MERCHANT": HEADER,
    "tandem_client.transport._KEY": HEADER,
}

# The patterns that are searched for in a text; the others must match a whole text.
SEARCHED = {
    *(
        name
        for name in LARGEST
        if name.startswith(("chassis.cards.", "chassis.folding.", "chassis.identifiers.", "chassis.http.inspection."))
    ),
    *("chassis.http.if_match._STRONG", "chassis.http.parsing._STRING", "chassis.http.idempotency._ESCAPED"),
    *(f"chassis.server.request_buffer.{name}" for name in ("_CHUNKED", "_EXPECT", "_LENGTH")),
}

# These meet settings, SQL, names of this project and a user's own command line only, and numbers of 19 digits.
INTERNAL = {
    "order.publisher.config._KAFKA",
    "order.publisher.config._STREAM",
    "order.publisher.credentials._JWT",
    "order.publisher.credentials._SEED",
    *("chassis.auth.keyring._KEY", "chassis.auth.keyring._SCOPE", "chassis.auth.keyring._SHA256"),
    *("chassis.auth.rate_limits._LIMIT", "chassis.cards._FOURS", "chassis.config._HEADERS", "chassis.config._KEY"),
    *("chassis.http.cors._ORIGIN", "chassis.urls._HOST"),
    *("chassis.messaging.remote._HEADER_VALUE", "chassis.openapi.document._PARAMETER"),
    *("chassis.postgres.prepared._PLACEHOLDER",),
    "tandem_client.cli.settings._AGO",
    *("chassis.telemetry.database_spans._READS", "chassis.telemetry.database_spans._WRITES"),
}

ATTACKS = {
    "digits": "4",
    "full-width digits": "\uff14",
    "digits of two scripts": "4\uff14",
    "digits and dashes": "1-",
    "cards": "4000 0000 0000 0001 ",
    "numbers that begin like cards": "22 0 5 ",
    "twelve digits": "4" * 12 + "x",
    "a digit and many separators": "4" + "-" * 500,
    "zero-width": "4\u200b",
    "hexadecimal": "a" + "1" * 30 + "-",
    "UUIDs": "41111111-1111-4111-8111-",
    "quotes": '"',
    "backslashes": "\\",
    "escaped quotes": '"\\"',
    "tags": '"a",',
    "unfinished tags": 'W/"a" , ,',
    "spaces": " ",
    "commas": ",",
    "tabs and commas": "\t,",
    "dots": "a.",
    "slashes": "/",
    "equals signs": "=;",
    "header lines": "\r\ncontent-length:",
    "header lines with spaces": "\r\nexpect:   " + " " * 200,
    "card words": "card",
    "zeros": "0",
    "long numbers": "4000000000000002 4000000000000000000000 ",
    "card numbers in one number": "4000000000000002",
    "escapes": "%34",
    "escapes of escapes": "%25",
    "an escape of many escapes": "%" + "25" * 500,
    "unfinished escapes": "%e2%80",
    "backslashes and letters": "\\u004",
    "HTML": "&amp;",
    "unfinished HTML": "&#0000",
    "IBANs": "DE89 3704 0044 0532 0130 00 ",
    "unfinished IBANs": "DE89 3704",
}


def compiled() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    """Return every compiled pattern of a module, by its name."""
    found: dict[str, re.Pattern[str] | re.Pattern[bytes]] = {}
    for package in (chassis, order, payment, tandem_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" in module.name or module.name.endswith("gunicorn_conf"):
                continue
            members = vars(importlib.import_module(module.name))
            found |= {
                f"{module.name}.{name}": value for name, value in members.items() if isinstance(value, re.Pattern)
            }
    return found


def test_every_pattern_is_listed_here() -> None:
    assert set(compiled()) == set(LARGEST) | INTERNAL


def calls() -> Iterator[str]:
    """Yield each call of a function of `re` other than `compile`, except in what generates OpenAPI documents."""
    for path in APPS.rglob("*.py"):
        if "openapi" in path.parts or path.name == "cards.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(called, ast.Attribute)
                and getattr(called.value, "id", "") == "re"
                and called.attr not in ("compile", "escape")
            ):
                yield f"{path.relative_to(APPS)}:{called.lineno}"


def test_no_pattern_is_hidden_in_a_call() -> None:
    assert not list(calls())


def test_digits_are_ascii_where_a_client_writes_them() -> None:
    for name in LARGEST:
        assert r"\d" not in str(compiled()[name].pattern), name


def fastest(call: Callable[[], object], times: int = 5) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


@pytest.mark.parametrize("name", LARGEST)
def test_a_pattern_takes_linear_time(name: str) -> None:
    pattern, size = compiled()[name], LARGEST[name]
    # One pass over a plain text of this size. It is the measure of this machine at this moment.
    plain = re.compile("(?:[a-z]|[0-9])+")
    for attack, text in ATTACKS.items():
        repeated = (text * (size // len(text) + 1))[: size - 1]
        for whole in (repeated + "!", "!" + repeated, '"' + repeated, "/" + repeated, "a" + repeated):
            subject: str | bytes = whole
            if name.startswith("chassis.cards._") and not name.endswith("_ASCII"):
                subject = fold(whole)
            if isinstance(pattern.pattern, bytes):
                subject = whole.encode("utf-8")[:size]

            def scan(subject: str | bytes = subject) -> None:
                pattern.fullmatch(subject)  # type: ignore[arg-type]
                if name in SEARCHED:
                    most = cards._MAX_STARTS + 1 if name == "chassis.cards._START" else None
                    for _ in islice(pattern.finditer(subject), most):  # type: ignore[arg-type]
                        pass

            bound = 600 * fastest(lambda: plain.fullmatch("x" * size), 3) + 0.001
            took = fastest(scan, 1)
            if took > bound:
                took = fastest(scan)
            assert took <= bound, f"{attack}: {took * 1000:.1f} ms, at most {bound * 1000:.1f} ms"


def test_validators_of_schemas_take_linear_time() -> None:
    found = [
        validator
        for schema in vars(snapshots).values()
        if isinstance(schema, type) and issubclass(schema, Schema)
        for field in schema().fields.values()
        for validator in field.validators
        if isinstance(validator, validate.Regexp)
    ]
    assert {validator.regex.pattern for validator in found} == {
        r"^[A-Za-z0-9_.\-]{1,64}$",
        r"^[^\x00]*$",
    }


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("search", [cards.has_card_number, cards.is_written_as_card, cards.mask])
def test_a_search_for_cards_takes_linear_time(attack: str, search: Callable[[str], object]) -> None:
    size = SEARCHED_SIZE
    text = (ATTACKS[attack] * size)[:size]
    plain = fastest(lambda: search("n\u00e9" * (size // 2)))  # folded, because it is not ASCII
    took = min(fastest(lambda: search(text), 1) for _ in range(5))
    assert took <= 12 * plain, f"{took * 1000:.1f} ms instead of {plain * 1000:.1f} ms"


def test_a_path_of_any_length_is_masked_in_the_time_of_a_short_one() -> None:
    for text in ATTACKS.values():
        path = "/" + (text * LINE)[: LINE - 1]
        assert len(cards.masked_path(path)) <= cards.MAX_PATH + 3
        short = fastest(lambda path=path: cards.masked_path(path[: cards.MAX_PATH]), 20)  # type: ignore[misc]
        assert fastest(lambda path=path: cards.masked_path(path), 20) <= 4 * short + 0.0005  # type: ignore[misc]
