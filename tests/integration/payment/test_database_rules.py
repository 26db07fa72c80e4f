"""What the payment database itself refuses, whatever the program that writes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import Connection, errors, sql

from tests.support.databases import Databases

LEGAL = {
    "processing": {"authorized", "captured", "failed"},
    "authorized": {"captured", "voided", "expired"},
    "captured": set(),
    "failed": set(),
    "voided": set(),
    "expired": set(),
}
LIVE = {"processing", "authorized", "captured"}


@pytest.fixture
def database(databases: Databases) -> Iterator[Connection[Any]]:
    """A connection with the service's role; its changes are rolled back."""
    with psycopg.connect(databases.payment) as connection:
        yield connection
        connection.rollback()


def insert(database: Connection[Any], table: str = "payments", **changes: Any) -> str:
    """Insert a row within a savepoint. Returns its id."""
    usual = {
        "payments": {
            "order_id": str(uuid.uuid4()),
            "status": "processing",
            "amount": 100,
            "payment_method": "pm_ok",
            "capture": "automatic",
            "provider": "simulator",
        },
        "operations": {"kind": "sale", "amount": 100},
    }[table]
    row = {"merchant": "demo", "id": str(uuid.uuid4()), "currency": "EUR", **usual, **changes}
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    with database.transaction():
        database.execute(statement, row)
    row_id: str = row["id"]
    return row_id


def update(database: Connection[Any], payment_id: str, **changes: Any) -> None:
    """Update a payment within a savepoint, so that the transaction remains usable after a refusal."""
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes
    )
    statement = sql.SQL("UPDATE payments SET {} WHERE id = {}").format(assignments, sql.Placeholder("this"))
    with database.transaction():
        database.execute(statement, {**changes, "this": payment_id})


def enter(database: Connection[Any], operation_id: str, account: str, direction: str, amount: int, **more: Any) -> None:
    database.execute(
        "INSERT INTO ledger_entries (merchant, id, operation_id, payment_id, account, direction, amount, currency)"
        " VALUES ('demo', gen_random_uuid(), %s, %s, %s, %s, %s, %s)",
        (operation_id, str(uuid.uuid4()), account, direction, amount, more.get("currency", "EUR")),
    )


def check_constraints(database: Connection[Any]) -> None:
    """Check the constraints now that are otherwise checked at the commit."""
    database.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.fixture
def operation_id(database: Connection[Any]) -> str:
    return insert(database, "operations", payment_id=insert(database))


@pytest.mark.parametrize("before", LEGAL)
def test_only_legal_transitions_are_possible(database: Connection[Any], before: str) -> None:
    reached = set()
    for after in LEGAL:
        payment_id = insert(database, status=before)
        with suppress(errors.CheckViolation):
            update(database, payment_id, status=after, version=2)
            reached.add(after)
    assert reached - {before} == LEGAL[before]


@pytest.mark.parametrize("version", [0, 1, 3, -1])
def test_versions_have_no_gaps(database: Connection[Any], version: int) -> None:
    payment_id = insert(database)
    with pytest.raises(errors.CheckViolation, match="cannot follow"):
        update(database, payment_id, version=version)
    with pytest.raises(errors.CheckViolation, match="cannot follow"):
        update(database, payment_id, failure_reason="without a version")
    update(database, payment_id, version=2)
    update(database, payment_id, version=3)


def test_a_version_may_follow_the_clock(database: Connection[Any]) -> None:
    """An adopted payment gets a version that order cannot have seen."""
    payment_id = insert(database)
    now = int(time.time())
    update(database, payment_id, version=now)
    for version in (now - 1, now, now + 2 - 2 * 86400):
        with pytest.raises(errors.CheckViolation, match="cannot follow"):
            update(database, payment_id, version=version)
    update(database, payment_id, version=now + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"merchant": "other"},
        {"id": str(uuid.uuid4())},
        {"order_id": str(uuid.uuid4())},
        {"amount": 101},
        {"currency": "USD"},
        {"created_at": "2020-01-01"},
    ],
)
def test_the_order_amount_and_identity_of_a_payment_never_change(
    database: Connection[Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(errors.CheckViolation, match="never changes"):
        update(database, insert(database), version=2, **changes)


@pytest.mark.parametrize(
    "row",
    [
        {"amount": 0},
        {"amount": -1},
        {"authorized_amount": 101},
        {"captured_amount": 1},
        {"authorized_amount": 50, "captured_amount": 51},
        {"authorized_amount": 100, "captured_amount": 100, "refunded_amount": 101},
        {"authorized_amount": 100, "captured_amount": 100, "refunded_amount": 60, "refunding_amount": 41},
        {"authorized_amount": 100, "captured_amount": 100, "refunding_amount": 101},
        {"refunded_amount": -1, "refunding_amount": 1},
        {"refunding_amount": -1, "refunded_amount": 1},
        {"authorized_amount": -1, "captured_amount": -1},
        {"capture": "later"},
        *({"status": status} for status in ("", "Captured", "pending", "paid", "canceled")),
        *({"busy": busy} for busy in ("", "refund", "sale")),
    ],
)
def test_no_more_is_refunded_than_captured_nor_captured_than_authorized(
    database: Connection[Any], row: dict[str, Any]
) -> None:
    with pytest.raises(errors.CheckViolation):
        insert(database, **row)


@pytest.mark.parametrize(
    "changes",
    [
        {"refunding_amount": 101},
        {"refunding_amount": -1},
        {"refunded_amount": 60, "refunding_amount": 41},
        {"refunded_amount": 101},
        {"captured_amount": 101},
        {"captured_amount": 59, "refunded_amount": 30, "refunding_amount": 30},
        {"authorized_amount": 99},
        {"authorized_amount": 101, "captured_amount": 101},
        {"busy": "refund"},
    ],
)
def test_no_update_can_exceed_what_was_captured_or_authorized(
    database: Connection[Any], changes: dict[str, Any]
) -> None:
    payment_id = insert(database, status="captured", authorized_amount=100, captured_amount=100)
    with pytest.raises(errors.CheckViolation):
        update(database, payment_id, version=2, **changes)
    update(database, payment_id, version=2, refunded_amount=60, refunding_amount=40, busy="capture")


@pytest.mark.parametrize(
    "changes",
    [{"busy": "void"}, {"refunding_amount": 1}, {"expires_at": "2026-01-01"}, {"updated_at": "2026-01-01"}],
)
def test_every_change_needs_a_new_version(database: Connection[Any], changes: dict[str, Any]) -> None:
    payment_id = insert(database, status="captured", authorized_amount=100, captured_amount=100)
    with pytest.raises(errors.CheckViolation, match="version 1 cannot follow 1"):
        update(database, payment_id, **changes)
    update(database, payment_id, version=2, **changes)


def test_a_ledger_entry_needs_an_existing_operation(database: Connection[Any]) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        enter(database, str(uuid.uuid4()), "provider_clearing", "debit", 100)


def test_a_payment_can_be_refunded_in_full(database: Connection[Any]) -> None:
    insert(database, authorized_amount=100, captured_amount=100, refunded_amount=60, refunding_amount=40)


@pytest.mark.parametrize("row", [{"amount": 0}, {"amount": -1}, {"kind": "gift"}, {"status": "unknown"}])
def test_an_operation_needs_a_valid_kind_status_and_amount(database: Connection[Any], row: dict[str, Any]) -> None:
    payment_id = insert(database)
    with pytest.raises(errors.CheckViolation):
        insert(database, "operations", payment_id=payment_id, **row)


@pytest.mark.parametrize("row", [{"status": "succeeded"}, {"status": "declined"}, {"settled_at": "2026-01-01"}])
def test_an_operation_is_settled_exactly_when_it_has_an_outcome(database: Connection[Any], row: dict[str, Any]) -> None:
    payment_id = insert(database)
    with pytest.raises(errors.CheckViolation):
        insert(database, "operations", payment_id=payment_id, **row)


def test_an_operation_needs_an_existing_payment(database: Connection[Any]) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        insert(database, "operations", payment_id=str(uuid.uuid4()))


@pytest.mark.parametrize("first", sorted(LIVE))
@pytest.mark.parametrize("second", sorted(LIVE))
def test_an_order_has_one_live_payment(database: Connection[Any], first: str, second: str) -> None:
    order_id = str(uuid.uuid4())
    insert(database, order_id=order_id, status=first)
    with pytest.raises(errors.UniqueViolation, match="payments_one_live"):
        insert(database, order_id=order_id, status=second)
    for over in sorted(set(LEGAL) - LIVE):
        insert(database, order_id=order_id, status=over)
    insert(database, order_id=order_id, status=second, merchant="other")


def test_entries_that_sum_to_zero_are_accepted(database: Connection[Any], operation_id: str) -> None:
    enter(database, operation_id, "provider_clearing", "debit", 100)
    enter(database, operation_id, "merchant_payable", "credit", 60)
    enter(database, operation_id, "fees", "credit", 40)
    check_constraints(database)


@pytest.mark.parametrize(
    "entries",
    [
        [("provider_clearing", "debit", 100, "EUR")],
        [("merchant_payable", "credit", 100, "EUR")],
        [("provider_clearing", "debit", 100, "EUR"), ("merchant_payable", "credit", 99, "EUR")],
        [("provider_clearing", "debit", 100, "EUR"), ("merchant_payable", "debit", 100, "EUR")],
        [("provider_clearing", "debit", 100, "EUR"), ("merchant_payable", "credit", 100, "USD")],
    ],
)
def test_entries_that_do_not_sum_to_zero_are_refused_at_the_commit(
    database: Connection[Any], operation_id: str, entries: list[tuple[str, str, int, str]]
) -> None:
    for account, direction, amount, currency in entries:
        enter(database, operation_id, account, direction, amount, currency=currency)
    with pytest.raises(errors.CheckViolation, match="do not sum to zero"):
        database.commit()


def test_balanced_entries_cannot_be_unbalanced_later(database: Connection[Any], operation_id: str) -> None:
    enter(database, operation_id, "provider_clearing", "debit", 100)
    enter(database, operation_id, "merchant_payable", "credit", 100)
    check_constraints(database)
    with pytest.raises(errors.CheckViolation, match="do not sum to zero"):
        enter(database, operation_id, "fees", "credit", 1)


@pytest.mark.parametrize(("direction", "amount"), [("debit", 0), ("debit", -1), ("sideways", 1)])
def test_an_entry_needs_a_direction_and_a_positive_amount(
    database: Connection[Any], operation_id: str, direction: str, amount: int
) -> None:
    with pytest.raises(errors.CheckViolation):
        enter(database, operation_id, "provider_clearing", direction, amount)


def test_an_operation_has_one_entry_per_account_and_direction(database: Connection[Any], operation_id: str) -> None:
    enter(database, operation_id, "provider_clearing", "debit", 100)
    with pytest.raises(errors.UniqueViolation):
        enter(database, operation_id, "provider_clearing", "debit", 100)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET amount = amount + 1",
        "UPDATE ledger_entries SET account = 'mine'",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "TRUNCATE operations CASCADE",
    ],
)
def test_the_ledger_is_append_only(database: Connection[Any], operation_id: str, statement: str) -> None:
    enter(database, operation_id, "provider_clearing", "debit", 100)
    enter(database, operation_id, "merchant_payable", "credit", 100)
    check_constraints(database)
    with pytest.raises(errors.CheckViolation, match="ledger_entries is append-only"):
        database.execute(statement.encode())
