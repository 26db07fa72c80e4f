"""`make fuzz [SEED=n] [EXAMPLES=n]`: send requests generated from the OpenAPI documents to real processes."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from ci.laptop.postgres import Postgres
from tests.fuzz.campaign import SWITCHED_OFF, SWITCHED_OFF_FOR_STRANGERS, Campaign
from tests.support.databases import Databases
from tests.support.stack import Stack
from tests.support.webhook_receiver import Receiver

SECONDS_BETWEEN_LINES = 5.0


def main() -> int:
    """Return exit status 1 if there are findings, or fewer requests than wanted were sent."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeats the requests of an earlier run")
    parser.add_argument("--examples", type=int, default=2000, help="number of requests for each service")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"fuzz: seed {seed}, {options.examples} examples for each service", flush=True)
    with tempfile.TemporaryDirectory(prefix="tandem-fuzz-") as folder:
        return run(seed, options.examples, Path(folder))


def run(seed: int, examples: int, folder: Path) -> int:
    """Do one run in a folder of its own. Return 0 if there are no findings."""
    campaigns = {}
    with ExitStack() as running:
        server = running.enter_context(Postgres(folder / "postgres", durable=False))
        databases = Databases.create(server)
        databases.migrate()
        stack = running.enter_context(Stack(databases, folder))
        receiver = running.enter_context(Receiver())
        for service in ("payment", "order"):
            for stranger in (False, True):
                name = f"{service}, without a key" if stranger else service
                campaign = Campaign(
                    service=getattr(stack, service),
                    receiver=receiver.url,
                    seed=seed,
                    folder=folder,
                    stranger=stranger,
                    examples=0 if stranger else examples,
                    per_turn=2 if stranger else 25,
                )
                campaign.run(Ticker(name))
                campaigns[name] = campaign
    return report(seed, campaigns)


class Ticker:
    """Prints a line of progress every few seconds."""

    def __init__(self, name: str) -> None:
        self._name, self._next = name, 0.0

    def __call__(self, campaign: Campaign) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        of = f" of {campaign.examples}" if campaign.examples else ""
        print(
            f"  {campaign.spent:4.0f} s  {self._name}: {campaign.requests.total()} requests"
            f", {campaign.drawn}{of} generated, {len(campaign.findings)} findings",
            flush=True,
        )


def report(seed: int, campaigns: dict[str, Campaign]) -> int:
    """Print the counts and findings. Return 0 if there are no findings."""
    for name, campaign in campaigns.items():
        answers: Counter[int] = Counter()
        for (_, status), count in campaign.answers.items():
            answers[status] += count
        print(f"{name}, {campaign.spent:.0f} s")
        print("  requests ", "  ".join(f"{phase}: {count}" for phase, count in campaign.requests.items()))
        print("  answers  ", "  ".join(f"{status}: {count}" for status, count in sorted(answers.items())))
        print("  checks   ", "  ".join(f"{check}: {count}" for check, count in sorted(campaign.checks.items())))
    print("not checked")
    for path, checks in [*SWITCHED_OFF.items(), *SWITCHED_OFF_FOR_STRANGERS.items()]:
        for check, reason in checks.items():
            print(f"  {check} on {path}: {reason}")
    for name, campaign in campaigns.items():
        for finding in campaign.findings.values():
            print(f"FAIL {name}: {finding.title}: {finding.operation} ({finding.count} times)")
            for text in (finding.message, finding.request, finding.answer):
                print("    " + text[:1500].replace("\n", "\n    "))
        for error in campaign.errors:
            print(f"FAIL {name}: {error}")
        if campaign.drawn < campaign.examples:
            print(f"FAIL {name}: only {campaign.drawn} requests were generated in {campaign.spent:.0f} s")
    bad = [name for name, campaign in campaigns.items() if not campaign.is_clean]
    print(f"fuzz: seed {seed}: {'no findings' if not bad else 'findings in ' + '; '.join(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
