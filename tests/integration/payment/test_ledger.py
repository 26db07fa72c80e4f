"""A merchant's ledger: pages of entries, and the trial balance."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.pair import Client, Pair
from tests.support.payment_bodies import wanted
from tests.support.problems import refused
from tests.support.settings import INTERNAL_KEY, OTHER_KEY


def merchant(pair: Pair) -> Client:
    """A client that acts for a new merchant."""
    return Named(pair.payment.url, f"m-{uuid.uuid4()}")


class Named(Client):
    """A client with the internal key that names a merchant in each request."""

    def __init__(self, url: str, merchant: str) -> None:
        super().__init__(url, INTERNAL_KEY)
        self.merchant = merchant

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        headers = {"Tandem-Merchant": self.merchant, **kwargs.pop("headers", {})}
        return super().request(method, path, headers=headers, **kwargs)


def pay(client: Client, amount: int, currency: str = "EUR", **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.post("/v1/payments", wanted(amount=amount, currency=currency, **changes)).json()
    return made


def balances(client: Client, query: str = "") -> dict[tuple[str, str], tuple[int, int, int]]:
    rows = client.get(f"/v1/ledger/balances{query}").json()["data"]
    return {(row["currency"], row["account"]): (row["debits"], row["credits"], row["balance"]) for row in rows}


def pages(client: Client, path: str) -> Iterator[list[dict[str, Any]]]:
    """The entries of each page, following the Link header."""
    following: str | None = path
    while following is not None:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        yield answer.json()["data"]
        link = answer.headers.get("Link")
        assert (link is None) == (answer.json()["next_cursor"] is None)
        found = re.fullmatch(r'<(/v1/ledger/entries\?[^>]+)>; rel="next"', link) if link else None
        assert (found is None) == (link is None)
        following = found.group(1) if found else None


def test_an_operation_that_moves_money_has_two_entries(pair: Pair) -> None:
    payment = pay(pair.payment, 900)
    refund = pair.payment.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 300}).json()
    entries = pair.payment.get(f"/v1/ledger/entries?payment_id={payment['id']}").json()["data"]
    assert set(entries[0]) == {
        "id", "operation_id", "payment_id", "account", "direction", "amount", "currency", "at",
    }  # fmt: skip
    assert {each["payment_id"] for each in entries} == {payment["id"]}
    assert [each["operation_id"] == refund["id"] for each in entries] == [True, True, False, False]
    assert {(each["account"], each["direction"], each["amount"]) for each in entries} == {
        ("provider_clearing", "debit", 900),
        ("merchant_payable", "credit", 900),
        ("provider_clearing", "credit", 300),
        ("merchant_payable", "debit", 300),
    }


def test_an_operation_that_moves_no_money_has_no_entries(pair: Pair) -> None:
    client = merchant(pair)
    payment = pay(client, 900, capture="manual")
    client.post(f"/v1/payments/{payment['id']}/void")
    pay(client, 900, payment_method="pm_declined")
    assert client.get("/v1/ledger/entries").json() == {"data": [], "next_cursor": None}
    assert client.get("/v1/ledger/balances").json() == {"data": []}


def test_pages_lead_through_all_entries_newest_first(pair: Pair) -> None:
    client = merchant(pair)
    for amount in range(1, 8):
        pay(client, amount)
    found = list(pages(client, "/v1/ledger/entries?limit=4"))
    assert [len(page) for page in found] == [4, 4, 4, 2]
    entries = [entry for page in found for entry in page]
    assert [entry["amount"] for entry in entries] == [amount for amount in range(7, 0, -1) for _ in range(2)]
    assert len({entry["id"] for entry in entries}) == 14
    everything = client.get("/v1/ledger/entries?limit=100").json()
    assert (everything["data"], everything["next_cursor"]) == (entries, None)
    assert len(client.get("/v1/ledger/entries").json()["data"]) == 14


def test_pages_can_be_limited_to_one_payment(pair: Pair) -> None:
    client = merchant(pair)
    payment = pay(client, 900)
    for _ in range(3):
        client.post(f"/v1/payments/{payment['id']}/refunds", {"amount": 100})
        pay(client, 1)
    found = list(pages(client, f"/v1/ledger/entries?payment_id={payment['id']}&limit=3"))
    assert [len(page) for page in found] == [3, 3, 2]
    assert {entry["payment_id"] for page in found for entry in page} == {payment["id"]}


def test_the_trial_balance_shows_each_currency_and_sums_to_zero(pair: Pair) -> None:
    client = merchant(pair)
    first, _ = pay(client, 1000), pay(client, 234)
    pay(client, 5, "JPY")
    client.post(f"/v1/payments/{first['id']}/refunds", {"amount": 400})
    euros = {
        ("EUR", "merchant_payable"): (400, 1234, -834),
        ("EUR", "provider_clearing"): (1234, 400, 834),
    }
    yen = {("JPY", "merchant_payable"): (0, 5, -5), ("JPY", "provider_clearing"): (5, 0, 5)}
    assert balances(client) == euros | yen
    assert balances(client, "?currency=EUR") == euros
    assert balances(client, "?currency=JPY") == yen
    assert balances(client, "?currency=USD") == {}
    order = [(row["currency"], row["account"]) for row in client.get("/v1/ledger/balances").json()["data"]]
    assert order == sorted(order)


def test_sums_can_exceed_the_largest_amount(pair: Pair) -> None:
    client = merchant(pair)
    for _ in range(2):
        pay(client, 2**63 - 1)
    assert balances(client)["EUR", "provider_clearing"][0] == 2**64 - 2


def test_an_unchanged_list_is_304_and_a_changed_one_is_200(pair: Pair) -> None:
    client = merchant(pair)
    pay(client, 1)
    for path in ("/v1/ledger/balances", "/v1/ledger/entries"):
        etag = client.get(path).headers["ETag"]
        unchanged = client.get(path, headers={"If-None-Match": etag})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
        pay(client, 1)
        assert client.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_a_merchants_ledger_shows_no_other_merchants_entries(pair: Pair) -> None:
    payment = pay(pair.payment, 900)
    other = Client(pair.payment.url, OTHER_KEY)
    assert other.get(f"/v1/ledger/entries?payment_id={payment['id']}").json()["data"] == []
    assert balances(merchant(pair)) == {}


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        *((f"limit={value}", ["/limit"]) for value in ("0", "101", "x", "", "１", "٣", "1" * 30)),
        *((f"cursor={value}", ["/cursor"]) for value in ("", "x", "AAAA", "%00", "A" * 101)),
        *((f"payment_id={value}", ["/payment_id"]) for value in ("", "x", "1")),
        ("currency=EUR", ["/currency"]),
        ("limit=1&limit=2", ["/limit"]),
        ("a=1&b=2&limit=0", ["/a", "/b", "/limit"]),
    ],
)
def test_an_invalid_query_of_entries_is_422(pair: Pair, query: str, pointers: list[str]) -> None:
    refused(pair.payment.get(f"/v1/ledger/entries?{query}"), 422, "validation", *pointers)


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        *((f"currency={value}", ["/currency"]) for value in ("", "eur", "XAU", "EURO", "%00")),
        ("currency=EUR&currency=EUR", ["/currency"]),
        ("limit=1", ["/limit"]),
    ],
)
def test_an_invalid_query_of_balances_is_422(pair: Pair, query: str, pointers: list[str]) -> None:
    refused(pair.payment.get(f"/v1/ledger/balances?{query}"), 422, "validation", *pointers)
