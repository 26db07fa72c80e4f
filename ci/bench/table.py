"""The table that `make bench` prints: each case with its ratio to a base case, and the target for it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from ci.bench.load import Run


@dataclass
class Measured:
    """A case over all rounds: its runs, their ratios to the base case, and CPU seconds of services and PostgreSQL."""

    runs: list[Run] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    services: float = 0.0
    postgres: float = 0.0

    @property
    def answers(self) -> int:
        """The number of requests in all runs."""
        return sum(len(run.latencies) for run in self.runs)

    def median_ms(self, percent: float) -> float:
        """Return the median over the rounds of a latency percentile, in milliseconds."""
        return statistics.median(run.percentile(percent) for run in self.runs) * 1000


# Each case with its base case and the target for its ratio to it.
TARGETS: dict[str, tuple[str, float | None]] = {
    "floor": ("floor", None),
    "create order": ("floor", 0.36),
    "get order": ("floor", 0.45),
    "list 20 orders": ("floor", 0.20),
    "replay of a key": ("floor", 0.40),
    "create order, payment down": ("create order", 0.90),
    "pgbench, 1 statement": ("pgbench, 1 statement", None),
    "pgbench, 3 transactions": ("pgbench, 3 transactions", None),
    "paid end to end": ("pgbench, 3 transactions", 0.80),
    "create order, paying": ("create order", 0.70),
    "get order, paying": ("get order", 0.70),
    "create order, 1 client": ("floor", None),
    "Prefer: wait, 1 client": ("floor", None),
}


def lines(measured: dict[str, Measured]) -> list[str]:
    """Return the lines of the table of cases."""
    head = f"{'case':<27}{'rate/s':>8}{'ratio':>7}  {'to reach':<10}{'p50 ms':>6}{'p99 ms':>8}"
    head += f"{'CPU s/1000':>12}{'SQL':>9}"
    rows = [head, "-" * len(head)]
    for name, (base, target) in TARGETS.items():
        case = measured[name]
        rate = statistics.median(run.rate for run in case.runs)
        ratio = statistics.median(case.ratios)
        of = "" if name == base or target is None else f"{ratio:.2f}"
        reach = "" if target is None else f">= {target:.2f} {'ok' if ratio >= target else '--'}"
        per = 1000 / case.answers
        cpu = f"{case.services * per:12.2f}{case.postgres * per:9.2f}" if case.services else ""
        rows.append(f"{name:<27}{rate:8.0f}{of:>7}  {reach:<10}{case.median_ms(50):6.1f}{case.median_ms(99):8.1f}{cpu}")
    return rows


def figures(measured: dict[str, Measured], memory: float, start: float) -> list[str]:
    """Return lines for the other figures: ratios of latencies, memory in MiB, seconds to start."""
    create, alone = measured["create order"], measured["create order, 1 client"]
    waits = measured["Prefer: wait, 1 client"]
    paid, placed = measured["paid end to end"], measured["pgbench, 1 statement"]
    cpu = (paid.services + paid.postgres) * 1000 / paid.answers
    slow = measured["get order, paying"].median_ms(99)
    of_statement = statistics.median(
        ours.rate / theirs.rate for ours, theirs in zip(create.runs, placed.runs, strict=True)
    )
    tail = create.median_ms(99) / create.median_ms(50)
    wait = waits.median_ms(50) / alone.median_ms(50)
    found: Sequence[tuple[str, str, float, float]] = (
        ("CPU of a paid order, services and PostgreSQL, ms", f"{cpu:.2f}", cpu, 1.6),
        ("p99 of get order while orders are being paid, ms", f"{slow:.0f}", slow, 40),
        ("p99 / p50 of create order", f"{tail:.1f}", tail, 4),
        ("p50 of Prefer: wait / of create order, 1 client each", f"{wait:.1f}", wait, 6),
        ("memory (PSS) of services and relays after load, MiB", f"{memory:.0f}", memory, 350),
        ("start of a service to its first 200, s", f"{start:.2f}", start, 1.5),
    )
    lines = [f"{what:<55}{text:>7}  <= {most:g} {'ok' if value <= most else '--'}" for what, text, value, most in found]
    reached = "ok" if of_statement >= 0.25 else "--"
    return [f"{'create order, of pgbench with its one statement':<55}{of_statement:>7.2f}  >= 0.25 {reached}", *lines]
