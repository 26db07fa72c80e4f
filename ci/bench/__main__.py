"""`make bench`: how fast Tandem is, as ratios to baselines (floors) that are measured in the same run.

Each round runs all cases in turn, so that other work on the machine affects all of them. The ratio of a case is the
median over the rounds. One failed request makes the run void.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict

from ci import ROOT
from ci.bench import backlog, growth, profile, table
from ci.bench.cases import Cases
from ci.bench.floor_sql import Floor
from ci.bench.load import Void
from ci.bench.stack import Stack, started
from ci.bench.table import TARGETS, Measured
from ci.laptop.launch import NeedsAccount
from ci.laptop.postgres import PostgresError
from ci.laptop.supervisor import StartFailed, Stopped
from order import MIGRATIONS as ORDER
from payment import MIGRATIONS as PAYMENT

# Cases in which the CPU time of the services is none of theirs.
UNMEASURED = ("floor", "pgbench, 1 statement", "pgbench, 3 transactions", "create order, payment down")


def main() -> None:
    """Measure and print the table. The exit status is 1 if the run was void or Tandem did not start."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each case in each round")
    parser.add_argument(
        "--growth",
        type=int,
        default=0,
        metavar="ORDERS",
        help="compare with so many orders instead",
    )
    parser.add_argument(
        "--backlog", type=int, default=0, metavar="ORDERS", help="measure paying so many orders instead"
    )
    parser.add_argument("--profile", action="store_true", help="write flame graphs and slow SQL of each case instead")
    arguments = parser.parse_args()
    try:
        with started(ROOT / ".bench", with_statistics=arguments.profile) as stack:
            cases = Cases(stack, Floor(stack.server, stack.state.path, (ORDER, PAYMENT)))
            if arguments.profile:
                profile.write(stack, cases, ROOT / ".artifacts" / "bench")
            elif arguments.growth:
                growth.measure(stack, cases, arguments.growth, arguments.rounds, arguments.seconds)
            elif arguments.backlog:
                cases.paid(0.5)  # warm up plans, caches and connections
                paid = statistics.median(cases.paid(arguments.seconds).rate for _ in range(arguments.rounds))
                backlog.measure(stack, arguments.backlog, paid)
            else:
                measure(stack, cases, arguments.rounds, arguments.seconds)
    except Stopped:
        sys.exit("make bench: stopped")
    except (Void, RuntimeError, StartFailed, PostgresError, NeedsAccount) as error:
        sys.exit(f"make bench: this run is void: {error}")


def measure(stack: Stack, cases: Cases, rounds: int, seconds: float) -> None:
    """Measure every case in each round, and print the table. Raises Void."""
    settings = f"{stack.workers} workers x {stack.threads} threads"
    print(f"{rounds} rounds of {len(TARGETS)} cases, {seconds:g} s each, {settings}", flush=True)
    for _ in cases.round(0.5):  # warm up plans, caches and connections
        pass
    measured: dict[str, Measured] = defaultdict(Measured)
    for number in range(1, rounds + 1):
        began = time.monotonic()
        services, postgres = stack.cpu()
        for name, run in cases.round(seconds):
            case = measured[name]
            now_services, now_postgres = stack.cpu()
            if name not in UNMEASURED:
                case.services += now_services - services
                case.postgres += now_postgres - postgres
            services, postgres = stack.cpu()
            case.runs.append(run)
            case.ratios.append(run.rate / measured[TARGETS[name][0]].runs[-1].rate)
        print(f"  round {number} of {rounds}: {time.monotonic() - began:.0f} s", flush=True)
    print("", *table.lines(measured), "", *table.figures(measured, stack.memory(), stack.start_time()), sep="\n")


if __name__ == "__main__":
    main()
