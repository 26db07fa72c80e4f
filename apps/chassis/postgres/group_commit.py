"""Group commit: what several threads want to store at the same time is stored in one statement.

While one thread executes a statement, the items of the other threads wait. One of these threads then executes one
statement for all of them. A thread that comes alone never waits. The busier the process, the larger the groups, and the
less an item costs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from chassis.postgres.watchdog import Line, watchdog

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds that an item waits for the statement before it. One that takes longer waits for a lock or a standby, or the
# database does not respond.
_PATIENCE = 0.05
# Seconds after which the failure of a group's statement is not that of one item: waiting for a lock takes less. The
# database does not respond, and a second execution would take as long again.
_OWN_FAULT = 2.0


class _Member(Generic[Item, Result]):
    """An item that waits, and its result.

    `began`, `until` and `line` are those of watchdog.Watched: a thread that waits for the statement of others counts as
    stalled when that takes long.
    """

    __slots__ = ("__weakref__", "began", "error", "item", "leads", "line", "results", "until", "woken")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result] = []  # one result, or none if the group's statement failed
        self.error: Exception | None = None  # why it failed, if that concerns all members
        self.leads = False
        self.began, self.until = 0.0, math.inf
        self.line: Line | None = None  # the leader has the connection
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit(Generic[Item, Result]):
    """Executes the items of concurrent threads in groups."""

    def __init__(
        self, execute: Callable[[Sequence[Item]], Sequence[Result]], failed: Callable[[int, Exception], None]
    ) -> None:
        """`execute` stores all items in one statement and returns their results, or stores none and raises.

        It is repeated for a single item, so an item must have a key that makes a second execution harmless. `failed`
        is told how many items a group had that are now executed one by one, and why.
        """
        self._execute, self._failed = execute, failed
        self._lock = threading.Lock()
        self._waiting: dict[_Member[Item, Result], None] = {}  # in the sequence of their arrival
        self._is_led = False

    def run(self, item: Item) -> Result:
        """Execute an item, alone or with others, and return its result.

        If a group fails, each thread executes its own item, so no item fails because of another. Raises what `execute`
        raises for this item alone, or for the group if its statement took so long that no item is the cause.
        """
        member: _Member[Item, Result] = _Member(item)
        with self._lock:
            if self._is_led:
                self._waiting[member] = None
            else:
                member.leads = self._is_led = True
        if not member.leads and not member.woken.acquire(timeout=_PATIENCE) and not self._leave(member):
            self._await(member)  # its statement is under way, with the leader's deadline, or the member leads
        if member.leads:
            self._lead(member)
        if member.error is not None:
            raise member.error
        return member.results[0] if member.results else self._execute([item])[0]

    def _await(self, member: _Member[Item, Result]) -> None:
        member.began = member.until = time.monotonic()
        watchdog.watch(member)
        member.woken.acquire()
        member.until = math.inf

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
        began = time.monotonic()
        try:
            for member, result in zip(group, self._execute([member.item for member in group]), strict=True):
                member.results.append(result)
        except Exception as error:
            if len(group) == 1:
                raise
            if time.monotonic() - began > _OWN_FAULT:
                for member in group:
                    member.error = error
            else:
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
