"""Group commit: what arrives while a statement is under way is executed together, and each item has its own outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from chassis.postgres import group_commit, watchdog
from chassis.postgres.group_commit import GroupCommit
from chassis.postgres.watchdog import Watchdog
from tests.support.eventually import eventually


class Statements:
    """Stands for the statement. It can be held, and refuses negative items with everything in the same statement."""

    def __init__(self) -> None:
        self.executed: list[list[int]] = []
        self.failed: list[tuple[int, str]] = []
        self._free = threading.Event()
        self._free.set()

    def execute(self, items: Sequence[int]) -> list[str]:
        self.executed.append(list(items))
        self._free.wait(10)
        if min(items) < 0:
            raise ValueError(f"refused: {min(items)}")
        return [f"result of {item}" for item in items]

    def note(self, count: int, error: Exception) -> None:
        self.failed.append((count, str(error)))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no statement end before the block does."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


@pytest.fixture
def statements() -> Statements:
    return Statements()


@pytest.fixture
def group(statements: Statements, monkeypatch: pytest.MonkeyPatch) -> GroupCommit[int, str]:
    monkeypatch.setattr(group_commit, "_PATIENCE", 10.0)
    return GroupCommit(statements.execute, statements.note)


@pytest.fixture
def run(group: GroupCommit[int, str], statements: Statements) -> Iterator[Callable[..., list[Future[str]]]]:
    """Run items in threads: the first is executed, and the others arrive while its statement is held."""
    with ThreadPoolExecutor(32) as pool:

        def run(first: int, *others: int) -> list[Future[str]]:
            with statements.held():
                futures = [pool.submit(group.run, first)]
                eventually(lambda: statements.executed == [[first]], "the first statement is under way")
                for item in others:
                    futures.append(pool.submit(group.run, item))
                    eventually(lambda: len(group._waiting) == len(futures) - 1, "the item waits")
            return futures

        yield run


def test_an_item_that_comes_alone_is_executed_at_once(group: GroupCommit[int, str], statements: Statements) -> None:
    assert [group.run(1), group.run(2)] == ["result of 1", "result of 2"]
    assert statements.executed == [[1], [2]]


def test_what_arrives_while_a_statement_is_under_way_is_executed_together(
    run: Callable[..., list[Future[str]]], statements: Statements, group: GroupCommit[int, str]
) -> None:
    futures = run(1, 2, 3, 4)
    assert [future.result(10) for future in futures] == [f"result of {number}" for number in (1, 2, 3, 4)]
    assert statements.executed == [[1], [2, 3, 4]]
    assert group.run(5) == "result of 5"


def test_an_item_that_is_refused_fails_alone(
    run: Callable[..., list[Future[str]]], statements: Statements, group: GroupCommit[int, str]
) -> None:
    one, two, refused, four = run(1, 2, -3, 4)
    assert [future.result(10) for future in (one, two, four)] == ["result of 1", "result of 2", "result of 4"]
    with pytest.raises(ValueError, match="refused: -3"):
        refused.result(10)
    assert statements.executed[:2] == [[1], [2, -3, 4]]
    assert sorted(statements.executed[2:]) == [[-3], [2], [4]]
    assert statements.failed == [(3, "refused: -3")]
    assert group.run(5) == "result of 5"


def test_nobody_waits_again_after_a_group_that_took_so_long_that_no_item_is_the_cause(
    run: Callable[..., list[Future[str]]],
    statements: Statements,
    group: GroupCommit[int, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "_OWN_FAULT", 0.0)
    one, *others = run(1, 2, -3, 4)
    assert one.result(10) == "result of 1"
    for other in others:
        with pytest.raises(ValueError, match="refused: -3"):
            other.result(10)
    assert statements.executed == [[1], [2, -3, 4]]
    assert statements.failed == []
    assert group.run(5) == "result of 5"


def test_after_a_refused_item_that_came_alone_the_others_are_executed(
    run: Callable[..., list[Future[str]]], group: GroupCommit[int, str]
) -> None:
    refused, two, three = run(-1, 2, 3)
    with pytest.raises(ValueError, match="refused: -1"):
        refused.result(10)
    assert [two.result(10), three.result(10)] == ["result of 2", "result of 3"]
    assert group.run(4) == "result of 4"


def test_an_item_does_not_wait_for_a_statement_that_takes_long(
    statements: Statements, group: GroupCommit[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE", 0.01)
    with ThreadPoolExecutor(3) as pool:
        with statements.held():
            futures = [pool.submit(group.run, 1)]
            eventually(lambda: statements.executed == [[1]], "the first statement is under way")
            futures += [pool.submit(group.run, 2), pool.submit(group.run, 3)]
            eventually(lambda: sorted(statements.executed) == [[1], [2], [3]], "the others are executed, too")
        assert [future.result(10) for future in futures] == ["result of 1", "result of 2", "result of 3"]
    assert group.run(4) == "result of 4"


def test_threads_that_wait_for_the_statement_of_others_count_as_stalled(
    statements: Statements, group: GroupCommit[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = Watchdog()
    dog.threads = 4
    monkeypatch.setattr(group_commit, "watchdog", dog)
    monkeypatch.setattr(watchdog, "SLOW", 0.0)
    monkeypatch.setattr(group_commit, "_PATIENCE", 0.0)
    monkeypatch.setattr(GroupCommit, "_leave", lambda *_: False)  # as if their statement were under way
    with ThreadPoolExecutor(3) as pool:
        with statements.held():
            futures = [pool.submit(group.run, 1)]
            eventually(lambda: statements.executed == [[1]], "the first statement is under way")
            futures += [pool.submit(group.run, 2), pool.submit(group.run, 3)]
            eventually(dog.is_careful, "half of the threads are stalled")
        assert [future.result(10) for future in futures] == ["result of 1", "result of 2", "result of 3"]
    dog._crowded_at = float("-inf")
    dog.check()
    assert not dog.is_careful()


@pytest.mark.parametrize("patience", [0.0, 0.0001, 10.0])
def test_many_threads_get_the_outcomes_of_their_own_items(
    statements: Statements, group: GroupCommit[int, str], monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE", patience)

    def outcome(item: int) -> str:
        try:
            return group.run(item)
        except ValueError as error:
            return str(error)

    items = [-item if item % 50 == 0 else item for item in range(1, 3001)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(outcome, items))
    assert found == [f"refused: {item}" if item < 0 else f"result of {item}" for item in items]
    assert group._waiting == {}
    assert group.run(1) == "result of 1"
