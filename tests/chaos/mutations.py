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
from dataclasses import dataclass, field
from pathlib import Path

from ci import ROOT

SEEDS = (11, 12, 13)
SECONDS = 15


@dataclass(frozen=True)
class Mutation:
    """A change that breaks the product: its effect, the file, the edits, and the closest tests (none: only chaos)."""

    name: str
    breaks: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...] = field(default=())


MUTATIONS = (
    Mutation(
        "no fingerprint check",
        "a used key is accepted for a different request",
        "apps/chassis/http/idempotency.py",
        (('if row["fingerprint"] != claim.fingerprint:', "if False:"),),
    ),
    Mutation(
        "key after the effect",
        "the idempotency key is committed after the order",
        "apps/order/service.py",
        (
            (
                "row = placing.insert_under_key(session, claim, order)",
                'row = placing.insert(session, order)\n            idempotency._take(session, claim, order["id"], 201)',
            ),
        ),
    ),
    Mutation(
        "lease without fencing",
        "a relay that has lost its lease can still mark the row delivered",
        "apps/chassis/messaging/outbox.py",
        (
            (
                '"UPDATE outbox SET {DELIVERED} WHERE {OUTBOX.held} RETURNING id"',
                '"UPDATE outbox SET {DELIVERED} WHERE id = %(id)s AND {OUTBOX.pending} RETURNING id"',
            ),
        ),
        ("tests/integration/chassis",),
    ),
    Mutation(
        "settled without the lease",
        "a relay that has lost its lease can still change the order",
        "apps/order/store/steps.py",
        (("AND o.lease_owner = s.holder AND o.delivered_at IS NULL FOR UPDATE", "FOR UPDATE"),),
        ("tests/integration/order/test_settling.py",),
    ),
    Mutation(
        "settled by an old look",
        "an order that was written since it was read is settled from the outdated row",
        "apps/order/store/steps.py",
        (("AND o.id = s.id AND o.version = s.seen", "AND o.id = s.id"),),
        ("tests/integration/order/test_settling.py",),
    ),
    Mutation(
        "check, then act",
        "a refund is reserved without a guard, after a separate read of what is left",
        "apps/payment/operations.py",
        (
            (
                "AND status = 'captured'\n"
                "          AND captured_amount - refunded_amount - refunding_amount >= %(wanted)s",
                "AND status = 'captured'",
            ),
        ),
        ("tests/integration/test_lifecycle.py",),
    ),
    Mutation(
        "new id at retry",
        "an operation is sent again under a new id, without looking up whether it was done",
        "apps/payment/executor.py",
        (
            ("import time\n", "import dataclasses\nimport time\n"),
            (
                "outcome = self._provider.lookup(operation) if operation.attempts > 1 else None",
                "outcome = None",
            ),
            (
                "outcome = outcome or self._provider.send(operation)",
                "outcome = self._provider.send(\n"
                "                operation if operation.attempts == 1"
                " else dataclasses.replace(operation, id=str(uuid_utils.uuid7()))\n            )",
            ),
        ),
    ),
    Mutation(
        "event without version",
        "a payment snapshot is applied whatever its version",
        "apps/order/model.py",
        (
            (
                "return known is None or payment.version > known.version",
                "return True",
            ),
        ),
        ("tests/unit/order", "tests/unit/test_simulation.py"),
    ),
    Mutation(
        "outbox in a second transaction",
        "an order is committed a moment before its command to payment",
        "apps/order/store/placing.py",
        (
            (
                '"fingerprint": claim.fingerprint})',
                '"fingerprint": claim.fingerprint, "topic": None}) and _late(session, order)',
            ),
            (
                "def insert(",
                "def _late(session: Session, order: dict[str, Any]) -> Row | None:\n"
                "    import time\n\n"
                "    time.sleep(0.05)\n"
                '    if order.get("topic"):\n'
                "        session.execute(\n"
                '            "INSERT INTO outbox (id, merchant, aggregate_id, topic, payload, headers) VALUES"\n'
                '            " (%(command_id)s, %(merchant)s, %(id)s, %(topic)s, %(command_payload)s, %(headers)s)",\n'
                "            order,\n"
                "        )\n"
                '    row = get(session, order["merchant"], order["id"])\n'
                '    return row and {**row, "told": False}\n\n\n'
                "from order.store.views import get\n\n\n"
                "def insert(",
            ),
        ),
    ),
    Mutation(
        "time-out taken for a decline",
        "an unknown outcome becomes a failure",
        "apps/payment/executor.py",
        (
            (
                "outcome = Outcome(Result.UNKNOWN, reason=str(error))",
                "outcome = Outcome(Result.DECLINED, reason=str(error))",
            ),
        ),
    ),
    Mutation(
        "ledger entries dropped",
        "captured money is not entered in the ledger",
        "apps/payment/model.py",
        (
            (
                "return Settlement(Status.CAPTURED, authorized=amount, captured=amount, entries=_taken(amount))",
                "return Settlement(Status.CAPTURED, authorized=amount, captured=amount)",
            ),
        ),
    ),
    Mutation(
        "a new key for each attempt",
        "order retries a call to payment under another key",
        "apps/order/gateway.py",
        (('"Idempotency-Key": message.id}', '"Idempotency-Key": __import__("uuid").uuid4().hex}'),),
    ),
    Mutation(
        "events without a signature",
        "anybody can tell order that it was paid",
        "apps/order/api.py",
        (("if not signatures.is_genuine(", "if False and not signatures.is_genuine("),),
        ("tests/integration/order",),
    ),
    Mutation(
        "canceled too soon",
        "a canceled order does not wait for the payment that is in flight",
        "apps/order/model.py",
        (
            (
                "    if order.waits_for(Command.CREATE, Command.CAPTURE):\n",
                "    if order.waits_for(Command.CAPTURE):\n",
            ),
        ),
        ("tests/integration/test_lifecycle.py",),
    ),
    Mutation(
        "a 202 taken for an outcome",
        "a void or capture whose outcome is unknown is requested again and again",
        "apps/order/gateway.py",
        (
            (
                "    if under_way:\n        return None\n",
                "    if under_way:\n        return Outcome(message_id, False)\n",
            ),
        ),
        ("tests/unit/test_simulation.py",),
    ),
)


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
        target = tree / mutation.file
        text = target.read_text()
        for old, new in mutation.edits:
            if text.count(old) != 1:
                raise ValueError(f"{mutation.file} has {text.count(old)} of {old!r}")
            text = text.replace(old, new)
        target.write_text(text)
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
            if done.returncode != 0:
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
