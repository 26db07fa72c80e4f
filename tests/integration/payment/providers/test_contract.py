"""What every provider must do, because the payment service relies on it. A new provider is added in conftest.py."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from payment.model import Kind, Operation, Outcome, Record, Result
from payment.providers import ProviderFault
from tests.support.providers.worlds import World, operation, resolve

OPENINGS = [Kind.SALE, Kind.AUTHORIZE]


def opened(world: World, kind: Kind = Kind.AUTHORIZE, amount: int = 1000, token: str | None = None) -> str:
    """Begin a payment, with retries. Returns its reference."""
    outcome = persist(world, operation(kind, amount, token or world.ok))
    assert outcome.result is Result.SUCCEEDED, outcome
    assert outcome.reference
    return outcome.reference


def persist(world: World, wanted: Operation) -> Outcome:
    """Carry out an operation as the executor does, until there is an outcome."""
    for attempt in range(5):
        try:
            return resolve(world.provider, wanted) if attempt else world.provider.send(wanted)
        except ProviderFault:
            continue
    raise AssertionError("no outcome after five attempts")


def wanted_after(world: World, kind: Kind, token: str) -> Operation:
    """An operation of any kind; its payment exists if it needs one."""
    if kind in OPENINGS:
        return operation(kind, 1000, token)
    reference = opened(world, Kind.SALE if kind is Kind.REFUND else Kind.AUTHORIZE, token=token)
    return operation(kind, 1000, token, reference)


@pytest.mark.parametrize("kind", Kind)
def test_an_operation_acts_once_however_often_it_is_sent(world: World, kind: Kind) -> None:
    wanted = wanted_after(world, kind, world.ok)
    before = len(world.done())
    first = world.provider.send(wanted)
    assert first.result is Result.SUCCEEDED
    assert first.reference
    assert [world.provider.send(wanted) for _ in range(3)] == [first] * 3
    assert resolve(world.provider, wanted) == first
    assert world.done()[before:] == [(kind, 1000)]


@pytest.mark.parametrize("kind", Kind)
def test_an_operation_that_was_never_sent_is_not_found(world: World, kind: Kind) -> None:
    wanted = wanted_after(world, kind, world.ok)
    before = world.done()
    assert world.provider.lookup(wanted) is None
    assert world.done() == before


@pytest.mark.parametrize("kind", Kind)
def test_after_a_lost_answer_the_outcome_can_be_looked_up(world: World, kind: Kind) -> None:
    wanted = wanted_after(world, kind, world.losing("answer"))
    before = len(world.done())
    with world.fault("answer"), pytest.raises(ProviderFault):  # not an outcome: neither success nor decline
        world.provider.send(wanted)
    assert world.done()[before:] == [(kind, 1000)]
    found = resolve(world.provider, wanted)
    assert found.result is Result.SUCCEEDED
    assert found.reference
    assert world.done()[before:] == [(kind, 1000)]


@pytest.mark.parametrize("kind", Kind)
def test_after_a_lost_request_the_operation_can_be_sent_again(world: World, kind: Kind) -> None:
    wanted = wanted_after(world, kind, world.losing("request"))
    before = len(world.done())
    with world.fault("request"), pytest.raises(ProviderFault):
        world.provider.send(wanted)
    assert world.done()[before:] == []
    assert world.provider.lookup(wanted) is None
    assert world.provider.send(wanted).result is Result.SUCCEEDED
    assert world.done()[before:] == [(kind, 1000)]


@pytest.mark.parametrize("kind", OPENINGS)
def test_a_decline_has_a_reason_and_is_final(world: World, kind: Kind) -> None:
    token, reason = world.declined
    wanted = operation(kind, 1000, token)
    first = world.provider.send(wanted)
    assert (first.result, first.reason) == (Result.DECLINED, reason)
    again = resolve(world.provider, wanted)
    assert (again.result, again.reason) == (Result.DECLINED, reason)
    assert world.done() == []


@pytest.mark.parametrize("kind", OPENINGS)
def test_an_unknown_payment_method_is_declined(world: World, kind: Kind) -> None:
    outcome = world.provider.send(operation(kind, 1000, "no_such_method"))
    assert outcome.result is Result.DECLINED
    assert outcome.reason
    assert world.done() == []


def test_a_partial_capture_releases_the_rest(world: World) -> None:
    reference = opened(world)
    assert world.provider.send(operation(Kind.CAPTURE, 400, world.ok, reference)).result is Result.SUCCEEDED
    more = world.provider.send(operation(Kind.REFUND, 401, world.ok, reference))
    assert (more.result, bool(more.reason)) == (Result.DECLINED, True)
    assert world.provider.send(operation(Kind.REFUND, 400, world.ok, reference)).result is Result.SUCCEEDED
    assert world.done() == [("authorize", 1000), ("capture", 400), ("refund", 400)]


def test_no_more_than_authorized_can_be_captured(world: World) -> None:
    reference = opened(world)
    outcome = world.provider.send(operation(Kind.CAPTURE, 1001, world.ok, reference))
    assert outcome.result is Result.DECLINED
    assert outcome.reason
    assert world.done() == [("authorize", 1000)]


def test_a_voided_authorization_cannot_be_captured(world: World) -> None:
    reference = opened(world)
    assert world.provider.send(operation(Kind.VOID, 1000, world.ok, reference)).result is Result.SUCCEEDED
    outcome = world.provider.send(operation(Kind.CAPTURE, 1000, world.ok, reference))
    assert outcome.result is Result.DECLINED
    assert outcome.reason
    assert world.done() == [("authorize", 1000), ("void", 1000)]


def test_refunds_never_exceed_the_captured_amount(world: World) -> None:
    reference = opened(world, Kind.SALE)
    outcomes = [world.provider.send(operation(Kind.REFUND, 300, world.ok, reference)).result for _ in range(5)]
    assert outcomes == [Result.SUCCEEDED] * 3 + [Result.DECLINED] * 2
    assert world.provider.send(operation(Kind.REFUND, 100, world.ok, reference)).result is Result.SUCCEEDED
    empty = world.provider.send(operation(Kind.REFUND, 1, world.ok, reference))
    assert (empty.result, bool(empty.reason)) == (Result.DECLINED, True)
    assert sum(amount for kind, amount in world.done() if kind == "refund") == 1000


def test_refunds_of_the_same_amount_are_distinguished(world: World) -> None:
    reference = opened(world, Kind.SALE)
    first, second = (operation(Kind.REFUND, 300, world.ok, reference) for _ in range(2))
    sent = world.provider.send(first)
    assert world.provider.lookup(second) is None
    assert world.provider.lookup(first) == sent


def test_concurrent_requests_for_an_operation_act_once(world: World) -> None:
    operations = [operation(Kind.SALE, 1000, world.ok) for _ in range(12)]
    start = threading.Barrier(6)
    seen: dict[str, list[Outcome | None]] = {wanted.id: [] for wanted in operations}

    def ask() -> None:
        for wanted in operations:
            start.wait(timeout=60)
            try:
                seen[wanted.id].append(world.provider.send(wanted))
            except ProviderFault:  # another request for the operation is not done yet
                seen[wanted.id].append(None)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for wanted in operations:
        outcome = persist(world, wanted)
        assert outcome.result is Result.SUCCEEDED
        assert {each for each in seen[wanted.id] if each is not None} <= {outcome}
        assert len(seen[wanted.id]) == 6
    assert world.done() == [("sale", 1000)] * 12


def test_two_operations_with_the_same_content_act_twice(world: World) -> None:
    wanted = operation(Kind.SALE, 1000, world.ok)
    other = structs.replace(wanted, id=operation(Kind.SALE).id)
    assert world.provider.send(wanted).reference != world.provider.send(other).reference
    assert world.done() == [("sale", 1000)] * 2


@pytest.mark.parametrize(
    "life",
    [
        [(Kind.SALE, 1000), (Kind.REFUND, 300), (Kind.REFUND, 700)],
        [(Kind.AUTHORIZE, 1000), (Kind.CAPTURE, 1001), (Kind.CAPTURE, 400), (Kind.REFUND, 100), (Kind.REFUND, 301)],
        [(Kind.AUTHORIZE, 1000), (Kind.VOID, 1000)],
    ],
    ids=lambda life: "-".join(kind for kind, _ in life),
)
def test_the_outcome_of_every_operation_can_be_looked_up_later(world: World, life: list[tuple[Kind, int]]) -> None:
    settled: list[tuple[Operation, Outcome]] = []
    reference = None
    for kind, amount in life:
        wanted = operation(kind, amount, world.ok, reference)
        outcome = world.provider.send(wanted)
        reference = reference or outcome.reference
        settled.append((structs.replace(wanted, reference=reference), outcome))
    for wanted, outcome in settled:
        found = world.provider.lookup(wanted)
        if outcome.result is Result.SUCCEEDED:
            assert found == outcome, wanted
        else:  # the provider may have no record of what it refused
            assert found is None or found.result is Result.DECLINED, wanted


def test_a_declined_payment_can_be_looked_up_later(world: World) -> None:
    wanted = operation(Kind.SALE, 1000, world.declined[0])
    outcome = world.provider.send(wanted)
    found = world.provider.lookup(structs.replace(wanted, reference=outcome.reference))
    assert found is not None
    assert (found.result, found.reason) == (outcome.result, outcome.reason)


LIVES = [
    [(Kind.SALE, 1000), (Kind.REFUND, 300), (Kind.REFUND, 700)],
    [(Kind.AUTHORIZE, 1000), (Kind.CAPTURE, 400), (Kind.REFUND, 100)],
    [(Kind.AUTHORIZE, 1000), (Kind.VOID, 1000)],
]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def lived(world: World, life: list[tuple[Kind, int]]) -> list[Operation]:
    """Carry out the operations of one payment."""
    first = operation(*life[0], world.ok)
    made = [first]
    reference = world.provider.send(first).reference
    for kind, amount in life[1:]:
        wanted = structs.replace(operation(kind, amount, world.ok, reference), payment_id=first.payment_id)
        made.append(structs.replace(wanted, order_id=first.order_id))
        assert world.provider.send(made[-1]).result is Result.SUCCEEDED
    world.index()
    return made


def summary(record: Record) -> tuple[object, ...]:
    return record.kind, record.merchant, record.payment_id, record.order_id, record.amount, record.currency


@pytest.mark.parametrize("life", LIVES, ids=lambda life: "-".join(kind for kind, _ in life))
def test_the_records_say_what_was_done_for_which_payment(world: World, life: list[tuple[Kind, int]]) -> None:
    made = lived(world, life)
    lived(world, LIVES[0])
    records = sorted(world.provider.records_of("demo", made[0].payment_id), key=lambda record: record.order)
    assert sorted(map(summary, records)) == sorted(
        (each.kind, "demo", each.payment_id, each.order_id, each.amount, "EUR") for each in made
    )
    # A provider may not know which operation a void was.
    assert {record.operation_id for record in records} - {None} <= {each.id for each in made}
    assert all(record.operation_id for record in records if record.kind is not Kind.VOID)
    assert {record.outcome.result for record in records} == {Result.SUCCEEDED}
    assert {record.charge for record in records} == {records[0].outcome.reference}
    assert all(record.outcome.reference for record in records)
    assert records[0].payment_method == world.ok


@pytest.mark.parametrize("life", LIVES, ids=lambda life: "-".join(kind for kind, _ in life))
def test_the_records_of_a_period_are_listed(world: World, life: list[tuple[Kind, int]]) -> None:
    made = lived(world, life)
    listed = list(world.provider.records(NOW - DAY, NOW + DAY))
    assert sorted(map(summary, listed)) == sorted(map(summary, world.provider.records_of("demo", made[0].payment_id)))
    assert list(world.provider.records(NOW - 3 * DAY, NOW - DAY)) == []


def test_a_decline_is_recorded_as_one(world: World) -> None:
    token, reason = world.declined
    wanted = operation(Kind.SALE, 1000, token)
    world.provider.send(wanted)
    world.index()
    (record,) = world.provider.records_of("demo", wanted.payment_id)
    assert (record.operation_id, record.outcome.result, record.outcome.reason) == (wanted.id, Result.DECLINED, reason)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: "-".join(kind for kind, _ in life))
def test_the_records_of_a_known_charge_are_the_same(world: World, life: list[tuple[Kind, int]]) -> None:
    made = lived(world, life)
    records = world.provider.records_of("demo", made[0].payment_id)
    assert world.provider.records_of("demo", made[0].payment_id, records[0].charge) == records


def test_another_merchant_has_no_records_of_the_payment(world: World) -> None:
    made = lived(world, LIVES[0])
    reference = world.provider.records_of("demo", made[0].payment_id)[0].charge
    for known in (None, reference):
        assert world.provider.records_of("other", made[0].payment_id, known) == []
        assert world.provider.records_of("demo", made[0].id, known) == []


def test_an_operation_with_other_content_under_the_same_id_is_a_fault(world: World) -> None:
    """Neither the first outcome nor a second charge: only one of the two requests can be what the caller wanted."""
    wanted = operation(Kind.SALE, 1000, world.ok)
    world.provider.send(wanted)
    with pytest.raises(ProviderFault):
        world.provider.send(structs.replace(wanted, amount=2000))
    assert world.done() == [("sale", 1000)]


def test_the_outcome_of_a_refund_of_another_amount_is_not_believed(world: World) -> None:
    made = lived(world, LIVES[0])
    reference = world.provider.records_of("demo", made[0].payment_id)[0].charge
    wanted = structs.replace(made[1], amount=301, reference=reference)
    with pytest.raises(ProviderFault):
        world.provider.lookup(wanted)
