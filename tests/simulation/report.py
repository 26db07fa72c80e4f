"""What happened in a schedule, step by step, for a person who looks for the cause of a failure."""

from __future__ import annotations

from tests.simulation import invariants
from tests.simulation.run import RULES, Run
from tests.simulation.schedules import Failure


def explain(failure: Failure) -> str:
    """Return the steps of a failure with what each of them changed."""
    lines = [f"seed {failure.seed}, schedule {failure.number}: {failure.message}"]
    run, state = Run(), dict[str, str]()
    try:
        for number, (name, choice) in enumerate(failure.steps, 1):
            lines.append(f"{number:3}. {name} {choice}: {_first_line(name)}")
            run.step((name, choice))
            state = _append_changes(lines, run, state)
        lines.append("     All faults end, and all work comes to rest.")
        run.rest()
        invariants.at_rest(run)
    except Exception as error:
        _append_changes(lines, run, state)
        lines.append(f"     {type(error).__name__}: {error}")
    return "\n".join(lines)


def _first_line(name: str) -> str:
    return (RULES[name].__doc__ or "").partition("\n")[0]


def _append_changes(lines: list[str], run: Run, before: dict[str, str]) -> dict[str, str]:
    state = _state(run)
    lines += [f"        {name}: {text}" for name, text in state.items() if before.get(name) != text]
    lines += [f"        {name}: gone" for name in before if name not in state]
    return state


def _state(run: Run) -> dict[str, str]:
    """Return a line for each order, payment and operation, and for each payment at the provider."""
    state: dict[str, str] = {}
    for name, order in run.order.rows.items():
        facts, payment = order.facts, order.facts.payment
        asked = " ".join(f"{asked.command}({_short(asked.id)})" for asked in facts.asked)
        known = f"{_short(payment.id)} version {payment.version} {payment.status}" if payment else "none"
        state[f"order {_short(name)}"] = (
            f"{facts.status}, version {facts.version}, paid {facts.paid_amount}, refunded {facts.refunded_amount}, "
            f"payment {known}, asked: {asked or 'nothing'}"
        )
    for name, row in run.payment.rows.items():
        amounts = f"{row.facts.authorized}/{row.facts.captured}/{row.facts.refunded}"
        busy = f", {row.facts.busy} under way" if row.facts.busy else ""
        state[f"payment {_short(name)}"] = (
            f"{row.facts.status}, version {row.version}, authorized/captured/refunded {amounts}{busy}, "
            f"order {_short(row.order_id)}"
        )
    for name, tried in run.payment.operations.items():
        operation = tried.operation
        state[f"operation {_short(name)}"] = (
            f"{operation.kind} {operation.amount} of {_short(operation.payment_id)}, "
            f"{tried.status or 'pending'}, requested with key {_short(tried.key)}"
        )
    for name, account in run.provider.accounts.items():
        amounts = f"{account.authorized}/{account.captured}/{account.refunded}"
        state[f"at the provider {_short(name)}"] = f"authorized/captured/refunded {amounts}"
    return state


def _short(name: str) -> str:
    """Return the part of an id that tells it from others: new ids end in a number, derived ids are random there."""
    return name[-4:] if name.startswith("00000000-0000-7000-8000-") else name[-12:-6]
