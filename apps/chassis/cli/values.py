"""What the commands accept as numbers and as times. Python's own conversions accept more, such as `1_000` and `nan`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from chassis.http.fields import within_years


class Whole(click.IntRange):
    """A whole number in ASCII digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Raises click.BadParameter."""
        if isinstance(value, str) and not _is_digits(value.removeprefix("-")):
            self.fail("must be a whole number in the digits 0 to 9, such as 12", param, ctx)
        return int(super().convert(value, param, ctx))


class Seconds(click.FloatRange):
    """A number of seconds: ASCII digits, with a decimal point or without."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds. Raises click.BadParameter."""
        if isinstance(value, str) and not _is_digits(value.replace(".", "", 1).removeprefix("-")):
            self.fail("must be a number of seconds in the digits 0 to 9, such as 30", param, ctx)
        return float(super().convert(value, param, ctx))


class Moment(click.ParamType[datetime]):
    """A time (RFC 3339), in UTC if it names no zone. With `past`, it must not be later than now."""

    name = "time"

    def __init__(self, *, past: bool = False) -> None:
        self._past = past

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time. Raises click.BadParameter."""
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2030-01-31T12:00:00Z", param, ctx)
        moment = within_years(time if time.tzinfo else time.replace(tzinfo=UTC))
        if self._past and moment > datetime.now(UTC):
            self.fail(f"{value} is in the future", param, ctx)
        return moment


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
