"""Drawing schedules from a seed, running them, and making one that fails shorter."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.simulation import invariants
from tests.simulation.provider import Broken
from tests.simulation.run import Run, Step

STEPS = (24, 110)
"""The least and the largest number of steps of a schedule before all work comes to rest. Half of them apply."""

SAME = 20
"""How many characters two messages have in common if they are about the same invariant."""

_ALWAYS = {
    "place": 2,
    "cancel": 2,
    "capture": 8,
    "release": 1,
    "refund": 5,
    "pay_again": 4,
    "relay_sends": 10,
    "request_arrives": 16,
    "response_or_event_arrives": 16,
    "event_is_sent": 6,
    "message_is_lost": 2,
    "sweep": 1,
    "thread_advances": 24,
    "thread_crashes": 2,
    "lease_runs_out": 2,
    "executor_claims": 3,
    "late_request_arrives": 3,
}
_SOMETIMES: tuple[dict[str, int], ...] = (
    {"capture": 20, "release": 10},  # these schedules begin with an authorized order
    {"create_at_payment": 2, "act_at_payment": 4},
    {"authorization_expires": 3},
    {"provider_is_away": 1},
    {"keys_are_purged": 2},
    {"order_is_backed_up": 1, "order_is_restored": 1},
    {"payment_is_backed_up": 1, "payment_is_restored": 1},
)


AUTHORIZED: tuple[Step, ...] = (
    ("place", 64),
    ("relay_sends", 0),
    ("request_arrives", 0),
    ("thread_advances", 0),
    ("thread_advances", 0),
    ("response_or_event_arrives", 0),
)
"""An order is placed, and its payment is authorized."""


def _mixes() -> list[list[str]]:
    """Return, for each subset of the rare rules, a list in which each rule stands as often as its weight says."""
    mixes = []
    for chosen in itertools.product((False, True), repeat=len(_SOMETIMES)):
        weights = dict(_ALWAYS)
        for rules in itertools.compress(_SOMETIMES, chosen):
            weights |= rules
        mixes.append([name for name, weight in weights.items() for _ in range(weight)])
    return mixes


_MIXES = _mixes()


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule after which an invariant does not hold."""

    seed: int
    number: int
    steps: tuple[Step, ...]
    message: str


@dataclass(slots=True)
class Report:
    """What happened in many schedules. `counts` has how often each rule applied and each outcome occurred."""

    schedules: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None

    def add(self, other: Report) -> None:
        """Add what happened in other schedules."""
        self.schedules += other.schedules
        self.counts += other.counts
        self.failure = self.failure or other.failure


def draw(seed: int, number: int) -> Iterator[Step]:
    """Yield the steps of a schedule, without end."""
    source = random.Random((seed << 32) + number)
    at = source.randrange(len(_MIXES))
    mix = _MIXES[at]
    size = len(mix)
    yield "length", source.randint(*STEPS)
    if at >= len(_MIXES) // 2:
        yield from AUTHORIZED
    yield "place", source.getrandbits(16)
    while True:
        bits = source.getrandbits(28)
        yield mix[(bits & 0xFFF) % size], bits >> 12


def try_schedule(seed: int, number: int) -> Report:
    """Run a schedule. A failure has only the steps that applied."""
    run, done, report = Run(), list[Step](), Report(1)
    try:
        for step in _limited(draw(seed, number)):
            done.append(step)
            if not run.step(step):
                done.pop()
        run.rest()
        invariants.at_rest(run)
    except Exception as error:  # what the services raise is a failure of theirs, too
        report.failure = Failure(seed, number, tuple(done), _message(error))
    report.counts.update(name for name, _ in done)
    for record in run.provider.books.values():
        report.counts[f"{record.operation.kind} {record.outcome.result}"] += 1
        report.counts["capture that keeps the rest"] += not record.operation.final
    return report


def _limited(steps: Iterator[Step]) -> Iterator[Step]:
    """Take as many steps as the first one says. Steps that do not apply are among them."""
    _, length = next(steps)
    return itertools.islice(steps, length)


def replay(steps: Iterable[Step]) -> str | None:
    """Run these steps; return which invariant does not hold, if any."""
    run = Run()
    try:
        for step in steps:
            run.step(step)
        run.rest()
        invariants.at_rest(run)
    except Exception as error:
        return _message(error)
    return None


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"


def shrink(failure: Failure) -> Failure:
    """Return the failure with as many steps removed as possible, such that the same invariant does not hold."""
    steps, message = list(failure.steps), failure.message
    size = max(1, len(steps) // 2)
    while True:
        removed = False
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            found = replay(fewer)
            if found is not None and found[:SAME] == message[:SAME]:
                steps, message, removed = fewer, found, True
            else:
                at += size
        if size == 1 and not removed:
            return Failure(failure.seed, failure.number, tuple(steps), message)
        size = max(1, size // 2)


def search(seed: int, numbers: Iterable[int]) -> Report:
    """Run these schedules until one fails; that one is made shorter."""
    report = Report()
    for number in numbers:
        report.add(try_schedule(seed, number))
        if report.failure is not None:
            report.failure = shrink(report.failure)
            break
    return report
