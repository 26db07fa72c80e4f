"""`make tour`: break a running Tandem in five ways, and show each time what was seen and what saved it.

It uses the Tandem that `make run` has started, or starts one. Each step checks the promise itself: the tour ends with
exit code 1 if an order is lost or charged twice. docs/tour.md describes the same steps.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.laptop import admin
from ci.laptop.journey import answers_ok
from ci.laptop.state import State
from ci.laptop.tour_stack import Failed, Tour
from ci.laptop.tour_steps import STEPS


def main() -> None:
    """Take the tour. The exit code is 0 if the promise held at each step."""
    parser = argparse.ArgumentParser(prog="tour", description=main.__doc__)
    parser.add_argument("--state", type=Path, metavar="DIR", help="state directory (default: .run)")
    parser.add_argument("--no-pause", action="store_true", help="do not wait for Enter between the steps")
    options = parser.parse_args()
    state = State(options.state.resolve()) if options.state else State()
    try:
        with running(state):
            take(Tour(state), pause=not options.no_pause and sys.stdin.isatty())
    except (Failed, admin.NotRunning) as error:
        sys.exit(f"The tour has ended early: {error}")
    except KeyboardInterrupt:
        sys.exit("\nThe tour has ended early.")


@contextmanager
def running(state: State) -> Iterator[None]:
    """Use the Tandem that runs in the state directory, or run one for the block. Raises `Failed`."""
    if state.env.exists() and answers_ok(f"{admin.read(state.env)['ORDER_ADMIN_URL']}/livez"):
        yield
        return
    command = [sys.executable, "-m", "ci.laptop", "--state", str(state.path), "--with-parent"]
    state.env.unlink(missing_ok=True)  # of a run that was killed
    print("Tandem is starting; this takes about half a minute the first time", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            while not state.env.exists():
                if process.poll() is not None:
                    raise Failed(f"Tandem did not start:\n{process.communicate()[0]}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def take(tour: Tour, *, pause: bool) -> None:
    """Run all steps. Raises `Failed`."""
    print(f"The operator's page: {tour.env['ORDER_ADMIN_URL']}/operator")
    print(f"Open it, and sign in with {tour.env['OPERATOR_API_KEY']}. Each order of the tour appears there.")
    for number, step in enumerate(STEPS, 1):
        print(f"\n{number}. {step.title}", flush=True)
        if pause:
            input("  (Enter to go on) ")
        step.run(tour)
        print(f"  Saved by {step.row}\n  Done by {step.place}", flush=True)
    print(f"\n{json.dumps({'steps': len(STEPS), 'lost': 0, 'charged_twice': 0})}")


if __name__ == "__main__":
    main()
