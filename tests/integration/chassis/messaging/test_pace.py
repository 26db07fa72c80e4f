"""A loop sees in PostgreSQL whether requests are being served."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chassis.messaging.pace import Pace
from chassis.postgres.database import Database
from tests.support.databases import Databases
from tests.support.eventually import eventually


@pytest.fixture
def is_resting(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Return a function that says whether a loop rests now."""
    loop = Database(databases.order, "order-relay")
    rests: list[float] = []

    def look() -> bool:
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", rests.append)
            rests.clear()
            Pace(loop, "order").rest(1.0)
        return bool(rests)

    return look


def test_a_loop_rests_while_sessions_of_requests_are_busy_and_not_for_those_of_loops(
    databases: Databases, is_resting: Callable[[], bool]
) -> None:
    requests = [Database(databases.order, "order").connect() for _ in range(3)]
    loops = [Database(databases.order, "order-relay").connect() for _ in range(3)]
    try:
        eventually(lambda: not is_resting(), "the new sessions are idle")
        for session in loops:
            session.one("SELECT 1")
        assert not is_resting()

        def is_resting_after_requests() -> bool:  # which PostgreSQL counts for a tenth of a second
            for session in requests:
                session.one("SELECT 1")
            return is_resting()

        eventually(is_resting_after_requests, "the loop rests for requests")
        eventually(lambda: not is_resting(), "the loop rests no more")
    finally:
        for session in (*requests, *loops):
            session.close()
