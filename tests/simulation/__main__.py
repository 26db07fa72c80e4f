"""`make simulate [SEED=n] [SCHEDULES=n]`: run both services and a provider through many schedules on two cores.

A schedule is a list of steps that is drawn from the seed and the schedule's number: requests, messages, calls of the
provider, crashes, losses, duplicates, reorderings and restores. The exit status is 1 if an invariant does not hold.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import sys
import time
from contextlib import ExitStack

from tests.simulation.defects import DEFECTS
from tests.simulation.report import explain
from tests.simulation.schedules import Report, search

BATCH = 500


def main() -> int:
    """Return exit status 1 if an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats the schedules of an earlier run")
    parser.add_argument("--schedules", type=int, default=20_000, help="how many schedules to run")
    parser.add_argument("--schedule", type=int, default=None, help="run only the schedule with this number")
    parser.add_argument("--processes", type=int, default=2, help="how many processes run schedules")
    parser.add_argument("--defect", choices=sorted(DEFECTS), default=None, help="put a defect back, to see it found")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    first = options.schedule or 0
    numbers = range(first, first + (options.schedules if options.schedule is None else 1))
    print(f"simulate: seed {seed}, {len(numbers)} schedules", flush=True)
    began = time.monotonic()
    report = run(seed, numbers, options.processes, options.defect)
    seconds = time.monotonic() - began
    print(f"{report.schedules} schedules in {seconds:.1f} s, {report.schedules / seconds * 60:,.0f} a minute")
    for name, count in sorted(report.counts.items()):
        print(f"{count:9} {name}")
    if report.failure is None:
        print("All invariants hold.")
        return 0
    print(explain_with(options.defect, report))
    only = f"SEED={report.failure.seed} SCHEDULE={report.failure.number}"
    print(f"Run this schedule again: make simulate {only}")
    return 1


def run(seed: int, numbers: range, processes: int, defect: str | None) -> Report:
    """Run these schedules in several processes, until one of them fails."""
    report = Report()
    batches = [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]
    with multiprocessing.Pool(min(processes, len(batches))) as pool:
        for batch in pool.imap_unordered(functools.partial(run_batch, seed, defect), batches):
            report.add(batch)
            if report.failure is not None:
                break
    return report


def run_batch(seed: int, defect: str | None, numbers: range) -> Report:
    """Run these schedules in this process, with the defect put back if one is named."""
    with ExitStack() as stack:
        if defect is not None:
            stack.enter_context(DEFECTS[defect]())
        return search(seed, numbers)


def explain_with(defect: str | None, report: Report) -> str:
    """Return the failure, explained with the same defect put back."""
    assert report.failure is not None
    with ExitStack() as stack:
        if defect is not None:
            stack.enter_context(DEFECTS[defect]())
        return explain(report.failure)


if __name__ == "__main__":
    sys.exit(main())
