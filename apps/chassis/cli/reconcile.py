"""The command `flask reconcile`: what a service has recorded, compared with the systems that it calls.

Its exit status is 0 if all records agree, 1 if some differ, and 2 if some could not be compared, whether or not others
differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from flask import Flask

from chassis.cli.values import Moment


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of the report, one cell for each column. `compared` is False if the other system's records are missing."""

    cells: tuple[str, ...]
    compared: bool = True


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of a period, such as of what was received in one currency, by the records of each system (minor units)."""

    name: str
    currency: str
    amounts: tuple[int, ...]


Differences = Callable[[str, str], Iterable[Difference | Total]]
"""Yields what a report shows of a period from an RFC 3339 time to another: the differences, then the totals."""


def register(app: Flask, columns: Sequence[str], systems: Sequence[str], differences: Differences) -> None:
    """Add `flask reconcile` to the application.

    `columns` are the headings of a difference, `systems` those of the amounts of a total.
    """

    @app.cli.command("reconcile")
    @click.option("--since", type=Moment(), help="Start of the period (RFC 3339). Default: a day before its end.")
    @click.option("--until", type=Moment(), help="End of the period (RFC 3339). Default: a minute ago.")
    def reconcile_command(since: datetime | None, until: datetime | None) -> None:
        """Compare what changed in a period with the records of the systems that this service calls.

        The exit status is 0 if all records agree, 1 if some differ, 2 if some could not be compared.
        """
        end = until or datetime.now(UTC) - timedelta(minutes=1)
        begin = since or end - timedelta(days=1)
        if begin >= end:
            raise click.UsageError(f"the period is empty: --since must be before {end:%Y-%m-%d %H:%M:%S} UTC")
        totals: list[Total] = []
        differing = missing = 0
        for row in differences(begin.isoformat(), end.isoformat()):
            if isinstance(row, Total):
                totals.append(row)
                continue
            if not differing + missing:
                click.echo(_line(columns))
            differing, missing = differing + row.compared, missing + (not row.compared)
            click.echo(_line(row.cells))
        if totals:
            click.echo(_line(("total", "currency", *systems)))
        for total in totals:
            click.echo(_line((total.name, total.currency, *map(str, total.amounts))))
        period = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        click.echo(f"{app.name}: {_summary(differing, missing)}, {period}")
        if differing or missing:
            sys.exit(2 if missing else 1)


def _summary(differing: int, missing: int) -> str:
    found = f"{differing} differences" if differing else "no differences"
    return f"{found}, {missing} not compared" if missing else found


def _line(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:<{36 if number == 0 else 14}}" for number, cell in enumerate(cells)).rstrip()
