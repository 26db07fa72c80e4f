"""Group commit: what several threads want to store at the same time is stored in one statement.

While one thread executes a statement, the items of the other threads wait. One of these threads then executes one
statement for all of them. A thread that comes alone never waits. The busier the process, the larger the groups, and the
less an item costs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds that an item waits for the statement before it. One that takes longer waits for a lock or a standby, or the
# database does not respond.
_PATIENCE = 0.05


class _Member(Generic[Item, Result]):
    """An item that waits, and its result."""

    __slots__ = ("item", "leads", "results", "woken")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result] = []  # one result, or none if the group's statement failed
        self.leads = False
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[Item, Result]):
    """Executes the items of concurrent threads in groups."""

    def __init__(
        self, execute: Callable[[Sequence[Item]], Sequence[Result]], failed: Callable[[int, Exception], None]
    ) -> None:
        """`execute` stores all items in one statement and returns their results, or stores none and raises.

        It is repeated for a single item, so an item must have a key that makes a second execution harmless. `failed`
        is told how many items a group had whose statement failed, and the error.
        """
        self._execute, self._failed = execute, failed
        self._lock = threading.Lock()
        self._waiting: dict[_Member[Item, Result], None] = {}  # in the sequence of their arrival
        self._is_led = False

    def run(self, item: Item) -> Result:
        """Execute an item, alone or with others, and return its result.

        If a group fails, each thread executes its own item, so no item fails because of another. Raises what `execute`
        raises for this item alone.
        """
        member: _Member[Item, Result] = _Member(item)
        with self._lock:
            if self._is_led:
                self._waiting[member] = None
            else:
                member.leads = self._is_led = True
        if not member.leads and not member.woken.acquire(timeout=_PATIENCE) and not self._leave(member):
            member.woken.acquire()  # its statement is under way, with the leader's deadline, or the member leads
        if member.leads:
            self._lead(member)
        return member.results[0] if member.results else self._execute([item])[0]

    def _leave(self, member: _Member[Item, Result]) -> bool:
        """Take a member out of those that wait. Returns False if it leads, or is no longer among them."""
        with self._lock:
            if member.leads or member not in self._waiting:
                return False
            del self._waiting[member]
            return True

    def _lead(self, leader: _Member[Item, Result]) -> None:
        """Execute the items of all that wait, give each its result, and let the next one lead."""
        with self._lock:
            self._waiting.pop(leader, None)
            group, self._waiting = [leader, *self._waiting], {}
        try:
            for member, result in zip(group, self._execute([member.item for member in group]), strict=True):
                member.results.append(result)
        except Exception as error:
            if len(group) == 1:
                raise
            self._failed(len(group), error)
        finally:
            self._let_next_lead()
            for member in group[1:]:
                member.woken.release()

    def _let_next_lead(self) -> None:
        with self._lock:
            following = next(iter(self._waiting), None)
            if following is None:
                self._is_led = False
            else:
                following.leads = True
                following.woken.release()
