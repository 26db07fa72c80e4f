"""Tests the tests: breaks the product in one way at a time and checks that tests or chaos detect it.

`python -m tests.chaos.mutations [NAME...]` copies the checkout and breaks the copy. There it runs the tests that are
closest to the broken code, then chaos from a few seeds. A mutation that nothing detects has survived; the exit status
is then 1. `--markdown` prints the table for the documentation.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ci import ROOT
from tests.chaos.mutants import MUTATIONS, Mutation

SEEDS = (11, 12, 13)
SECONDS = 15


def main() -> int:
    """Return exit status 1 if a mutation survived."""
    parser = argparse.ArgumentParser(prog="tests.chaos.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="run only these")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if not options.names or m.name in options.names]
    rows = []
    for number, mutation in enumerate(chosen, 1):
        print(f"{number}/{len(chosen)} {mutation.name}: {mutation.breaks}", file=sys.stderr, flush=True)
        began = time.monotonic()
        caught = try_out(mutation)
        rows.append((mutation, caught))
        print(f"     {caught or 'SURVIVED'} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    if options.markdown:
        print("| Broken | What is wrong | Noticed by |\n| --- | --- | --- |")
        print("\n".join(f"| {m.name} | {m.breaks} | {caught or '**nothing**'} |" for m, caught in rows))
    return 0 if all(caught for _, caught in rows) else 1


def try_out(mutation: Mutation) -> str | None:
    """Return what detected the mutation, or None. Raises ValueError if the code to change is not found."""
    with tempfile.TemporaryDirectory(prefix="tandem-mutation-") as folder:
        tree = Path(folder) / "tandem"
        ignored = shutil.ignore_patterns(".git", ".venv", ".run", ".cache", ".mypy_cache", "__pycache__")
        shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
        for file, text in mutation.changed(tree).items():
            file.write_text(text)
        checks: list[tuple[str, list[str]]] = [
            (test, ["-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", test]) for test in mutation.tests
        ]
        checks += [
            (f"chaos, seed {seed}", ["-m", "tests.chaos", "--seed", str(seed), "--seconds", str(SECONDS)])
            for seed in SEEDS
        ]
        for name, arguments in checks:
            done = subprocess.run(
                [sys.executable, *arguments], cwd=tree, env=environment(), capture_output=True, text=True, check=False
            )
            if done.returncode == 1:  # 2 is a chaos run that was inconclusive, or pytest that was interrupted
                return f"{name}{reason(done.stdout)}"
    return None


def environment() -> dict[str, str]:
    """Return this process's environment with the copy's code as PYTHONPATH."""
    return {**os.environ, "PYTHONPATH": "apps:apps/client"}


def reason(output: str) -> str:
    """Return which invariants or which test failed."""
    failed = [line.split(".")[0].split()[-1] for line in output.splitlines() if line.startswith("  FAIL")]
    if failed:
        return f": invariant{'s' if len(failed) > 1 else ''} {', '.join(failed)}"
    tests = [line.split("::")[-1].split(" ")[0] for line in output.splitlines() if line.startswith("FAILED ")]
    return f": `{tests[0]}`" if tests else ""


if __name__ == "__main__":
    sys.exit(main())
