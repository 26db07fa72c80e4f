"""What `tandem` accepts as numbers. Python's own conversions accept more, such as `1_000` and `nan`."""

from __future__ import annotations

from typing import Any

import click


class Whole(click.IntRange):
    """A whole number in ASCII digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number. Raises BadParameter."""
        return int(super().convert(whole(value) if isinstance(value, str) else value, param, ctx))


class Seconds(click.FloatRange):
    """A number of seconds: ASCII digits, with a decimal point or without."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds. Raises BadParameter."""
        if isinstance(value, str) and not _is_digits(value.replace(".", "", 1)):
            self.fail("must be a number of seconds in the digits 0 to 9, such as 30", param, ctx)
        return float(super().convert(float(value), param, ctx))


def whole(text: str) -> int:
    """Return the whole number that the text is. Raises BadParameter."""
    if not _is_digits(text.removeprefix("-")):
        raise click.BadParameter("must be a whole number in the digits 0 to 9, such as 450")
    return int(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
