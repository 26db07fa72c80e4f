"""The constraints and triggers of the order database, which hold for every program."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import Connection, errors, sql

from tests.support.databases import Databases

LEGAL = {
    "pending_payment": {"paid", "authorized", "payment_failed", "canceling"},
    "payment_failed": {"pending_payment", "canceled"},
    "authorized": {"paid", "canceling", "expired"},
    "paid": {"refunded", "canceling"},
    "canceling": {"canceled", "paid", "authorized"},
    "canceled": set(),
    "refunded": set(),
    "expired": set(),
}
MONEY = {"paid": (100, 0), "refunded": (100, 100)}


@pytest.fixture
def database(databases: Databases) -> Iterator[Connection[Any]]:
    """A connection with the service's role. Its changes are rolled back."""
    with psycopg.connect(databases.order) as connection:
        yield connection
        connection.rollback()


def insert(database: Connection[Any], status: str = "pending_payment", **changes: Any) -> str:
    paid, refunded = MONEY.get(status, (0, 0))
    row = {
        "merchant": "demo",
        "id": str(uuid.uuid4()),
        "status": status,
        "currency": "EUR",
        "total_amount": 100,
        "paid_amount": paid,
        "refunded_amount": refunded,
        "items": "[]",
        "payment_method": "pm_ok",
        "capture": "automatic",
        **changes,
    }
    database.execute(
        sql.SQL("INSERT INTO orders ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
        ),
        row,
    )
    order_id: str = row["id"]
    return order_id


def update(database: Connection[Any], order_id: str, **changes: Any) -> None:
    """Update an order within a savepoint, so that the transaction can be used after a refusal."""
    with database.transaction():
        database.execute(
            sql.SQL("UPDATE orders SET {} WHERE id = {}").format(
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes
                ),
                sql.Placeholder("this"),
            ),
            {**changes, "this": order_id},
        )


@pytest.mark.parametrize("before", LEGAL)
def test_only_legal_changes_of_status_are_accepted(database: Connection[Any], before: str) -> None:
    walked = set()
    for after in LEGAL:
        order_id = insert(database, before)
        paid, refunded = MONEY.get(after, (0, 0))
        with suppress(errors.CheckViolation):
            update(database, order_id, status=after, version=2, paid_amount=paid, refunded_amount=refunded)
            walked.add(after)
    assert walked - {before} == LEGAL[before]


@pytest.mark.parametrize("version", [0, 1, 3, -1])
def test_versions_have_no_gaps(database: Connection[Any], version: int) -> None:
    order_id = insert(database)
    with pytest.raises(errors.CheckViolation, match="cannot follow"):
        update(database, order_id, version=version)
    with pytest.raises(errors.CheckViolation, match="cannot follow"):
        update(database, order_id, customer="without a version")
    update(database, order_id, version=2)


def test_swept_at_can_change_without_a_new_version(database: Connection[Any]) -> None:
    order_id = insert(database, "canceling")
    for moment in ("2026-01-01", "2026-01-02", None):
        update(database, order_id, swept_at=moment)
    assert database.execute("SELECT version, swept_at FROM orders WHERE id = %s", (order_id,)).fetchone() == (1, None)
    update(database, order_id, swept_at="2026-01-03", version=2, status="canceled")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "canceling"},
        {"paid_amount": 1},
        {"refunding_amount": 1},
        {"payment": '{"id": "p1"}'},
        {"payment_method": "pm_other"},
        {"failure_reason": "a reason"},
        {"past_payments": [str(uuid.uuid4())]},
        {"command_id": str(uuid.uuid4())},
        {"updated_at": "2026-01-01"},
        {"customer": "somebody"},
    ],
)
def test_every_other_change_needs_a_new_version(database: Connection[Any], changes: dict[str, Any]) -> None:
    order_id = insert(database)
    for more in ({}, {"swept_at": "2026-01-01"}):
        with pytest.raises(errors.CheckViolation, match="version 1 cannot follow 1"):
            update(database, order_id, **changes, **more)
    update(database, order_id, **changes, swept_at="2026-01-01", version=2)


def test_an_illegal_change_of_status_is_refused_even_if_swept_at_changes(database: Connection[Any]) -> None:
    order_id = insert(database)
    with pytest.raises(errors.CheckViolation, match="pending_payment cannot become refunded"):
        update(
            database,
            order_id,
            status="refunded",
            paid_amount=100,
            refunded_amount=100,
            version=2,
            swept_at="2026-01-01",
        )


def refund(database: Connection[Any], order_id: str, **changes: Any) -> str:
    """Insert a refund within a savepoint, and return its id."""
    row = {
        "merchant": "demo",
        "id": str(uuid.uuid4()),
        "order_id": order_id,
        "amount": 30,
        "currency": "EUR",
        **changes,
    }
    with database.transaction():
        database.execute(
            sql.SQL("INSERT INTO refunds ({}) VALUES ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
            ),
            row,
        )
    refund_id: str = row["id"]
    return refund_id


@pytest.mark.parametrize("changes", [{"amount": 0}, {"amount": -1}, {"status": "declined"}, {"status": ""}])
def test_a_refund_needs_a_positive_amount_and_a_known_status(
    database: Connection[Any], changes: dict[str, Any]
) -> None:
    order_id = insert(database, "paid")
    for status in ("pending", "succeeded", "failed"):
        refund(database, order_id, status=status)
    with pytest.raises(errors.CheckViolation):
        refund(database, order_id, **changes)


def test_a_refund_belongs_to_an_order_of_the_same_merchant(database: Connection[Any]) -> None:
    order_id = insert(database, "paid")
    with pytest.raises(errors.ForeignKeyViolation):
        refund(database, str(uuid.uuid4()))
    with pytest.raises(errors.ForeignKeyViolation):
        refund(database, order_id, merchant="other")
    refund_id = refund(database, order_id)
    with pytest.raises(errors.UniqueViolation):
        refund(database, order_id, id=refund_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"merchant": "other"},
        {"id": str(uuid.uuid4())},
        {"currency": "USD"},
        {"total_amount": 99},
        {"items": '[{"sku": "more"}]'},
        {"created_at": "2020-01-01"},
    ],
)
def test_the_content_of_an_order_never_changes(database: Connection[Any], changes: dict[str, Any]) -> None:
    with pytest.raises(errors.CheckViolation, match="never changes"):
        update(database, insert(database), version=2, **changes)


@pytest.mark.parametrize(
    "row",
    [
        {"total_amount": -1},
        {"paid_amount": 101},
        {"paid_amount": -1},
        {"paid_amount": 100, "refunded_amount": 101},
        {"refunded_amount": 1},
        {"refunded_amount": -1},
        {"status": "paid", "paid_amount": 0},
        {"status": "paid", "paid_amount": 100, "refunded_amount": 100},
        {"status": "paid", "paid_amount": 40, "refunded_amount": 40},
        {"status": "refunded", "paid_amount": 40, "refunded_amount": 39},
        {"status": "refunded", "paid_amount": 0, "refunded_amount": 0},
        {"status": "refunded", "paid_amount": 100, "refunded_amount": 99},
        {"status": "refunded", "total_amount": 0, "paid_amount": 0, "refunded_amount": 0},
        {"capture": "later"},
        {"refunding_amount": -1},
        *({"status": status} for status in ("", "Paid", "nonsense", "processing", "captured")),
    ],
)
def test_the_amounts_of_an_order_must_match_its_status(database: Connection[Any], row: dict[str, Any]) -> None:
    with pytest.raises(errors.CheckViolation):
        insert(database, **row)


def test_an_order_may_be_paid_and_refunded_in_part(database: Connection[Any]) -> None:
    insert(database, "paid", paid_amount=40, refunded_amount=39)
    insert(database, "refunded", paid_amount=40, refunded_amount=40)
    insert(database, "paid", total_amount=0, paid_amount=0)


def test_an_amount_that_64_bits_cannot_hold_is_refused(database: Connection[Any]) -> None:
    insert(database, total_amount=2**63 - 1)
    with pytest.raises(errors.NumericValueOutOfRange):
        insert(database, total_amount=2**63)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE order_events SET actor = 'somebody'",
        "UPDATE order_events SET version = version + 1",
        "DELETE FROM order_events",
        "TRUNCATE order_events",
    ],
)
def test_the_history_is_append_only(database: Connection[Any], statement: str) -> None:
    database.execute(
        "INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)"
        " VALUES ('demo', gen_random_uuid(), 1, 'order.placed', 'pending_payment', 'merchant')"
    )
    with pytest.raises(errors.CheckViolation, match="order_events is append-only"):
        database.execute(statement.encode())


def test_a_version_has_only_one_event(database: Connection[Any]) -> None:
    statement = (
        b"INSERT INTO order_events (merchant, order_id, version, type, to_status, actor)"
        b" VALUES ('demo', '00000000-0000-0000-0000-000000000001', 1, 'order.placed', 'pending_payment', 'merchant')"
    )
    database.execute(statement)
    with pytest.raises(errors.UniqueViolation):
        database.execute(statement)
