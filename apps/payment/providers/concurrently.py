"""Sending several operations at the same time to a provider that takes one per request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from payment.model import Operation, Outcome, Result
from payment.providers import ProviderFault

AT_ONCE = 8
"""How many requests are under way at the same time."""

SECONDS = 4.0
"""How long to wait for the outcomes. The order service waits for the answer to the whole batch."""


def send(send_one: Callable[[Operation], Outcome], operations: Sequence[Operation]) -> dict[str, Outcome]:
    """Send operations and return their outcomes by operation id; see Provider.send_many.

    An operation whose answer does not come in time is UNKNOWN: the executor looks it up later. An operation that was
    not sent in time has no outcome.
    """

    def outcome(operation: Operation) -> Outcome:
        try:
            return send_one(operation)
        except ProviderFault as error:
            return Outcome(Result.UNKNOWN, reason=str(error))

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="provider")
    futures = {pool.submit(outcome, operation): operation.id for operation in operations}
    done, late = wait(futures, timeout=SECONDS)
    under_way = [future for future in late if not future.cancel()]
    pool.shutdown(wait=False)
    unknown = Outcome(Result.UNKNOWN, reason="the provider had not answered in time")
    return {futures[each]: each.result() for each in done} | {futures[each]: unknown for each in under_way}
