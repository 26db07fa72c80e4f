"""Adoption from the records of each provider: what was lost here is written again as it was."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uuid_utils
from msgspec import structs

from chassis.cli.reconcile import Difference, Total
from chassis.postgres.database import Database
from payment import operations, reconcile
from payment.adoption import Adopted, Adoption
from payment.executor import Executor
from payment.model import Kind, Operation
from tests.support.databases import Databases
from tests.support.providers.worlds import StripeWorld, World, aged, operation

DAY = 86400.0
Adopt = Callable[[World, Operation], Adopted | None]


@pytest.fixture
def adopt(databases: Databases) -> Adopt:
    """Return a function that adopts the payment of an operation from a provider's records."""

    def adopt(world: World, of: Operation) -> Adopted | None:
        world.index()
        database = Database(databases.payment, "tests")
        return Adoption(database, world.provider, 20.0, 7 * DAY, lambda: None).adopt(of.merchant, of.payment_id)

    return adopt


def lived(world: World, *life: tuple[Kind, int]) -> list[Operation]:
    """Carry out the operations of one payment."""
    made: list[Operation] = []
    reference = None
    for kind, amount in life:
        wanted = operation(kind, amount, world.ok, reference)
        first = made[0] if made else wanted
        made.append(structs.replace(wanted, payment_id=first.payment_id, order_id=first.order_id))
        reference = reference or world.provider.send(made[0]).reference
        if len(made) > 1:
            made[-1] = structs.replace(made[-1], reference=reference)
            world.provider.send(made[-1])
    return made


def payment(databases: Databases, of: Operation) -> dict[str, Any]:
    (row,) = databases.query("payment", "SELECT * FROM payments WHERE id = %s", of.payment_id)
    return row


def stored(databases: Databases, of: Operation) -> list[tuple[str, int, str]]:
    rows = databases.query(
        "payment", "SELECT kind, amount, status FROM operations WHERE payment_id = %s", of.payment_id
    )
    return sorted((row["kind"], row["amount"], row["status"]) for row in rows)


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        ([(Kind.SALE, 1000), (Kind.REFUND, 300)], ("captured", 1000, 1000, 300)),
        ([(Kind.AUTHORIZE, 1000)], ("authorized", 1000, 0, 0)),
        ([(Kind.AUTHORIZE, 1000), (Kind.CAPTURE, 400), (Kind.REFUND, 400)], ("captured", 1000, 400, 400)),
        ([(Kind.AUTHORIZE, 1000), (Kind.VOID, 1000)], ("voided", 1000, 0, 0)),
    ],
    ids=lambda value: "-".join(str(each[0]) for each in value) if isinstance(value, list) else "",
)
def test_a_lost_payment_is_adopted_as_it_was(
    world: World, databases: Databases, adopt: Adopt, life: list[tuple[Kind, int]], expected: tuple[Any, ...]
) -> None:
    made = lived(world, *life)
    done = adopt(world, made[0])
    assert done is not None
    assert (done.payment, done.operations, done.settled, done.findings) == (True, len(life), len(life), [])
    row = payment(databases, made[0])
    names = ("status", "authorized_amount", "captured_amount", "refunded_amount")
    assert tuple(row[name] for name in names) == expected
    assert (row["refunding_amount"], row["busy"], str(row["order_id"])) == (0, None, made[0].order_id)
    assert row["provider_reference"] == world.provider.records_of("demo", made[0].payment_id)[0].charge
    assert stored(databases, made[0]) == sorted((kind, amount, "succeeded") for kind, amount in life)
    told = "SELECT payload FROM outbox WHERE aggregate_id = %s ORDER BY sequence"
    events = databases.query("payment", told, made[0].order_id)
    assert [event["payload"]["operation"]["kind"] for event in events] == [kind for kind, _ in life]
    again = adopt(world, made[0])
    assert again is not None
    assert (again.payment, again.operations, again.settled, again.findings) == (False, 0, 0, [])
    assert payment(databases, made[0]) == row


def test_a_refund_that_was_lost_alone_is_adopted(world: World, databases: Databases, adopt: Adopt) -> None:
    made = lived(world, (Kind.SALE, 1000))
    adopt(world, made[0])
    before = payment(databases, made[0])
    refund = structs.replace(
        operation(Kind.REFUND, 250, world.ok, before["provider_reference"]), payment_id=made[0].payment_id
    )
    world.provider.send(refund)
    done = adopt(world, made[0])
    assert done is not None
    assert (done.payment, done.operations, done.settled) == (False, 1, 1)
    after = payment(databases, made[0])
    assert (after["refunded_amount"], after["version"] > before["version"]) == (250, True)


def test_a_declined_payment_is_adopted_as_failed(world: World, databases: Databases, adopt: Adopt) -> None:
    token, reason = world.declined
    wanted = operation(Kind.SALE, 1000, token)
    world.provider.send(wanted)
    done = adopt(world, wanted)
    assert done is not None
    assert done.findings == []
    row = payment(databases, wanted)
    assert (row["status"], row["failure_reason"], row["captured_amount"]) == ("failed", reason, 0)
    assert row["payment_method"] == token


def test_a_payment_that_the_provider_does_not_know_is_not_adopted(world: World, adopt: Adopt) -> None:
    assert adopt(world, operation(Kind.SALE)) is None


def test_the_second_charge_of_an_operation_is_found_and_not_booked(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt
) -> None:
    wanted = aged(operation(Kind.SALE, 1000, stripe_world.ok), 2 * DAY)
    for _ in range(2):
        stripe_world.provider.send(wanted)
        stripe_world.standin.forget_keys()
    done = adopt(stripe_world, wanted)
    assert done is not None
    assert [finding.text for finding in done.findings] == ["the provider acted more than once on this operation"]
    assert payment(databases, wanted)["captured_amount"] == 1000


def test_a_declined_attempt_does_not_hide_a_charge(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt
) -> None:
    wanted = operation(Kind.SALE, 1000, stripe_world.declined[0])
    stripe_world.provider.send(wanted)
    stripe_world.standin.forget_keys()
    stripe_world.provider.send(structs.replace(wanted, payment_method=stripe_world.ok))
    done = adopt(stripe_world, wanted)
    assert done is not None
    assert done.findings == []
    assert payment(databases, wanted)["status"] == "captured"


def test_what_was_captured_by_hand_is_found_and_not_booked(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt
) -> None:
    (wanted,) = lived(stripe_world, (Kind.AUTHORIZE, 1000))
    stripe_world.standin.intents["pi_1"].update(status="succeeded", amount_received=700)
    done = adopt(stripe_world, wanted)
    assert done is not None
    assert [finding.text for finding in done.findings] == ["was made by hand at the provider"]
    assert payment(databases, wanted)["status"] == "authorized"


def test_a_void_under_way_is_the_one_that_the_provider_has_made(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt
) -> None:
    made = lived(stripe_world, (Kind.AUTHORIZE, 1000))
    adopt(stripe_world, made[0])
    void_id = str(uuid_utils.uuid7())
    databases.query(
        "payment", "UPDATE payments SET busy = 'void', version = version + 1 WHERE id = %s", made[0].payment_id
    )
    databases.query(
        "payment",
        """INSERT INTO operations (merchant, id, payment_id, kind, amount, currency)
           VALUES ('demo', %s, %s, 'void', 1000, 'EUR')""",
        void_id,
        made[0].payment_id,
    )
    stripe_world.standin.intents["pi_1"].update(status="canceled")
    done = adopt(stripe_world, made[0])
    assert done is not None
    assert (done.operations, done.settled, done.findings) == (0, 1, [])
    assert payment(databases, made[0])["status"] == "voided"
    voids = "SELECT id, status FROM operations WHERE kind = 'void' AND payment_id = %s"
    (row,) = databases.query("payment", voids, made[0].payment_id)
    assert (str(row["id"]), row["status"]) == (void_id, "succeeded")


@pytest.mark.parametrize("voided", [False, True])
def test_an_authorization_that_was_canceled_by_hand_is_a_difference_until_it_is_voided(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt, voided: bool
) -> None:
    (made,) = lived(stripe_world, (Kind.AUTHORIZE, 1000))
    adopt(stripe_world, made)
    stripe_world.standin.intents["pi_1"].update(status="canceled")
    if voided:
        adopt(stripe_world, made)
    now = datetime.now(UTC)
    period = [(now + timedelta(hours=hours)).isoformat() for hours in (-1, 1)]
    session = Database(databases.payment, "tests").session()
    rows = list(reconcile.differences(session, stripe_world.provider, *period))
    found = [row.cells for row in rows if isinstance(row, Difference) and row.cells[0] == "pi_1"]
    assert found == ([] if voided else [("pi_1", "void", "1000 EUR", "nothing", "succeeded")])


@pytest.mark.parametrize(("currency", "captured"), [("CHF", False), ("SEK", True)])
def test_a_capture_by_hand_is_a_difference_until_a_capture_of_the_same_amount_meets_it(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt, currency: str, captured: bool
) -> None:
    made = operation(Kind.AUTHORIZE, 1000, stripe_world.ok, currency=currency)
    stripe_world.provider.send(made)
    adopt(stripe_world, made)
    stripe_world.standin.intents["pi_1"].update(status="succeeded", amount_received=1000, amount_capturable=0)
    database = Database(databases.payment, "tests")
    if captured:
        wanted = operation(Kind.CAPTURE, 1000, stripe_world.ok, "pi_1", currency)
        wanted = structs.replace(wanted, payment_id=made.payment_id)
        assert operations.reserve(database.session(), wanted, 20.0, None, None)
        assert Executor(database, stripe_world.provider, 20.0, lambda: None).execute(wanted)
        assert payment(databases, made)["status"] == "captured"
    now = datetime.now(UTC)
    period = [(now + timedelta(hours=hours)).isoformat() for hours in (-1, 1)]
    rows = list(reconcile.differences(database.session(), stripe_world.provider, *period))
    found = [row.cells for row in rows if isinstance(row, Difference) and currency in row.cells[2]]
    assert found == ([] if captured else [("pi_1", "capture", f"1000 {currency}", "nothing", "succeeded")])
    (total,) = [row for row in rows if isinstance(row, Total) and row.currency == currency]
    assert total.amounts == ((1000, 1000) if captured else (0, 1000))


def test_a_refund_that_fails_at_the_bank_after_its_success_is_a_difference(
    stripe_world: StripeWorld, databases: Databases, adopt: Adopt
) -> None:
    made = lived(stripe_world, (Kind.SALE, 1000), (Kind.REFUND, 300))
    adopt(stripe_world, made[0])
    (refund,) = stripe_world.standin.refunds.values()
    refund.update(status="failed", failure_reason="lost_or_stolen_card")
    now = datetime.now(UTC)
    period = [(now + timedelta(hours=hours)).isoformat() for hours in (-1, 1)]
    rows = list(reconcile.differences(Database(databases.payment, "tests").session(), stripe_world.provider, *period))
    found = [row.cells for row in rows if isinstance(row, Difference) and row.cells[0] == made[1].id]
    assert found == [(made[1].id, "refund", "300 EUR", "succeeded", "declined")]


def test_metadata_that_is_not_tandems_is_no_payment(stripe_world: StripeWorld) -> None:
    (wanted,) = lived(stripe_world, (Kind.SALE, 1000))
    stripe_world.standin.intents["pi_1"]["metadata"].update(tandem_order="x", tandem_operation="y")
    stripe_world.index()
    (record,) = stripe_world.provider.records_of("demo", wanted.payment_id)
    assert (record.order_id, record.operation_id, uuid.UUID(record.payment_id)) == (
        None,
        None,
        uuid.UUID(wanted.payment_id),
    )
