"""What happened in a run: how often each kind of operation and outcome occurred."""

from __future__ import annotations

from collections import Counter

from tests.chaos.facts import Facts

REQUIRED = ("voids", "captures", "captures that keep the rest", "refunds", "declines", "unknown outcomes")
"""A run in which one of these did not happen is inconclusive."""


def occurrences(facts: Facts) -> Counter[str]:
    """Count what happened, by the databases and by the callers' records. What did not happen has the count 0."""
    found = Counter[str]()
    found.update(dict.fromkeys(("captures of a part", "expired authorizations", "third-party payments"), 0))
    found.update(dict.fromkeys(("declined charges", "declined voids", "declined captures", "declined refunds"), 0))
    found.update(dict.fromkeys((*REQUIRED, "charges", "authorizations", "202 answers", "unanswered requests"), 0))
    plural = {"sale": "charges", "authorize": "authorizations"}
    for operation in facts.operations:
        kind, declined = operation["kind"], operation["status"] == "declined"
        found["unknown outcomes"] += operation["attempts"] > 1
        found["declines"] += declined
        if declined:
            found["declined charges" if kind in plural else f"declined {kind}s"] += 1
        elif kind == "void" and operation["note"] == "expired":
            found["expired authorizations"] += 1
        else:
            found[plural.get(kind, f"{kind}s")] += operation["status"] == "succeeded"
        found["captures that keep the rest"] += operation["status"] == "succeeded" and not operation["final"]
    for payment in facts.payments:
        found["captures of a part"] += 0 < payment["captured_amount"] < payment["amount"]
    for request in facts.log.requests:
        found["third-party payments"] += request.kind == "third party" and request.succeeded
        found["202 answers"] += request.status == 202
        found["unanswered requests"] += request.status is None
    return found


def missing(found: Counter[str]) -> list[str]:
    """Return what did not happen although every run must have it."""
    return [what for what in REQUIRED if not found[what]]
