from __future__ import annotations

import time

import pytest

from chassis.messaging.work import WorkLoop
from chassis.postgres.database import Database


def test_a_loop_with_a_long_polling_interval_is_alive_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = WorkLoop("rest", Database("", "test"), lambda *_: [], lambda _: None, concurrency=1, poll=300.0)
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 350)
    assert loop.is_alive(patience=60.0)
    monkeypatch.setattr(time, "monotonic", lambda: began + 400)
    assert not loop.is_alive(patience=60.0)
