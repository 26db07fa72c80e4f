"""Makes the clock of this process differ from the system's.

Only Python's clocks are shifted: `time.time`, `datetime.now` and the time in new UUIDv7s. Clocks that measure durations
and the clock of the database stay right.
"""

from __future__ import annotations

import datetime
import time
from datetime import datetime as real_datetime
from typing import Any

import uuid_utils

VARIABLE = "CLOCK_AHEAD"
"""The environment variable with the seconds, for processes of tests.support.stack."""

_real_time, _real_time_ns, _real_uuid7 = time.time, time.time_ns, uuid_utils.uuid7
_ahead = 0.0


def shift(seconds: float) -> None:
    """Set the clock ahead. Call it before the modules are imported that take `datetime` or `time` by name."""
    global _ahead
    _ahead = seconds
    for module, name, value in (
        (time, "time", lambda: _real_time() + _ahead),
        (time, "time_ns", lambda: _real_time_ns() + int(_ahead * 1e9)),
        (uuid_utils, "uuid7", _uuid7),
        (datetime, "datetime", _Shifted),
    ):
        setattr(module, name, value)


def _uuid7() -> uuid_utils.UUID:
    return _real_uuid7(nanoseconds=time.time_ns())


class _LikeReal(type):
    """Makes isinstance work: all values are of the real class."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, real_datetime)


class _Shifted(real_datetime, metaclass=_LikeReal):
    """The class `datetime`; only `now` differs."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return real_datetime.now(tz) + datetime.timedelta(seconds=_ahead)
