"""One service, its own OpenAPI document, and requests drawn from it, with every check that schemathesis has.

Drawn are requests that the document allows and requests that it does not, one by one (fuzzing) and in sequences that
follow its links (stateful). Before that come the document's own examples and the bounds of each of its schemas
(coverage), which are the same in every run.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckFailureInfo, ScenarioRecorder
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER

from tests.fuzz.sender import Sender
from tests.support.pair import Client
from tests.support.settings import KEY, OTHER_KEY

METHODS = ["pm_ok", "pm_declined", "pm_insufficient_funds", "pm_refund_declined", "pm_error_then_ok"]
"""Payment methods that lead an order or a payment into all of its states, within milliseconds."""

_UNSIGNED = "without a signature of its bytes an event is refused with 400: the check knows 401 and 403 only"
_DECIMALS = "how many decimals an amount may have, and so how large it may be, depends on the default currency"
SWITCHED_OFF = {
    "/v1/payment-events": {"ignored_auth": _UNSIGNED},
    "/v1/provider-events/{provider}": {"ignored_auth": "the simulator, which runs here, signs nothing"},
    "/orders": {"positive_data_acceptance": _DECIMALS},
    "/payments": {"positive_data_acceptance": _DECIMALS},
}
"""The checks that are not made on a path, and why. All others are made on all paths."""

SWITCHED_OFF_FOR_STRANGERS = {"/v1/payment-events": {"positive_data_acceptance": _UNSIGNED}}
"""The same, of requests without a key."""

MAY_BE_ANSWERED = ["2xx", "304", "401", "403", "404", "409", "412", "429"]
"""To what the document allows: the usual, and 412, since it cannot say which versions there are (If-Match)."""

PHASES = ("examples", "coverage", "fuzzing", "stateful")
DRAWN = ("fuzzing", "stateful")


@dataclass
class Finding:
    """One way in which an operation is not as described: how often, and the first request that shows it."""

    title: str
    operation: str
    message: str
    request: str
    answer: str
    count: int = 1


@dataclass(kw_only=True)
class Campaign:
    """Requests to the service at an address.

    With `examples`, fuzzing and state machines go on in turns until so many requests have been drawn, or for as many
    `seconds` at most; without, each has one short turn. `per_turn` is for each operation. Those of a `stranger` have
    no key, or one that was made up. `folder` is for a file of our own; `receiver` is a URL that takes webhooks.
    """

    service: Client
    receiver: str
    seed: int
    folder: Path
    stranger: bool = False
    examples: int = 0
    seconds: int = 600
    per_turn: int = 25
    phases: tuple[str, ...] = PHASES
    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    spent: float = 0.0

    @property
    def drawn(self) -> int:
        """How many requests fuzzing and state machines have made so far."""
        return sum(self.requests[phase] for phase in DRAWN)

    @property
    def is_clean(self) -> bool:
        """Whether it has done all that it should, and found nothing."""
        return not self.findings and not self.errors and self.drawn >= self.examples and len(self.answers) > 0

    def run(self, tick: Callable[[Campaign], None] = lambda _: None) -> None:
        """Draw and send everything; `tick` is called whenever some more has been sent."""
        began = time.monotonic()
        with _hooked(Sender(self.receiver, signs=not self.stranger)):
            schema = schemathesis.openapi.from_url(f"{self.service.url}/openapi.json", config=self._config())
            stream = from_schema(schema).execute()
            for event in stream:
                self._take(event)
                if self.examples and self.drawn >= self.examples:
                    stream.stop()
                self.spent = time.monotonic() - began
                tick(self)

    def _take(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.ScenarioFinished):
            self._count(event.phase.value, event.recorder)
        elif isinstance(event, events.PhaseStarted):
            self._forget_endpoints()
        elif isinstance(event, events.NonFatalError):
            self.errors.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception

    def _forget_endpoints(self) -> None:
        """Make room: a merchant has so many webhook endpoints at most, and then every further one is refused."""
        found = self.service.get("/v1/webhook-endpoints")
        for endpoint in found.json()["data"] if found.ok else ():
            self.service.request("DELETE", f"/v1/webhook-endpoints/{endpoint['id']}")

    def _config(self) -> SchemathesisConfig:
        return SchemathesisConfig.from_dict(
            {
                "seed": self.seed,
                "continue-on-failure": True,
                "request-timeout": 30,
                **({"max-time": self.seconds} if self.examples else {}),
                "auth": {} if self.stranger else self._merchants(),
                "generation": {"max-examples": self.per_turn, "database": "none", "no-shrink": True},
                "phases": {
                    **{name: {"enabled": name in self.phases} for name in PHASES},
                    "stateful": {
                        "enabled": "stateful" in self.phases,
                        "generation": {"max-examples": 4 * self.per_turn},
                    },
                },
                "checks": {"positive_data_acceptance": {"expected-statuses": MAY_BE_ANSWERED}},
                "dictionaries": {"methods": {"values": METHODS}},
                "parameters": {"body.payment_method": {"dictionary": "methods", "probability": 0.8}},
                "operations": [
                    {"include-path": path, "checks": {name: {"enabled": False} for name in checks}}
                    for path, checks in self._switched_off()
                ],
            }
        )

    def _switched_off(self) -> Iterator[tuple[str, set[str]]]:
        more = SWITCHED_OFF_FOR_STRANGERS if self.stranger else {}
        for path in SWITCHED_OFF.keys() | more.keys():
            yield path, {*SWITCHED_OFF.get(path, {}), *more.get(path, {})}

    def _merchants(self) -> dict[str, Any]:
        """Two merchants, of whom neither may see what the other has; the requests are the first one's."""
        keys = {"demo": KEY, "other": OTHER_KEY}
        held = [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
            for name, key in keys.items()
        ]
        place = self.folder / "merchants.json"
        place.write_text(json.dumps({"auth": held}))
        return {"wfc": {"path": str(place), "user": "demo", "peers": list(keys)}}

    def _count(self, phase: str, recorder: ScenarioRecorder) -> None:
        for number, interaction in recorder.interactions.items():
            self.requests[phase] += 1
            if interaction.response is not None and number in recorder.cases:
                operation = recorder.cases[number].value.operation.label
                self.answers[operation, interaction.response.status_code] += 1
        for number, checks in recorder.checks.items():
            for check in checks:
                self.checks[check.name] += 1
                if check.failure_info is not None:
                    self._find(recorder, number, check.failure_info)

    def _find(self, recorder: ScenarioRecorder, number: str, info: CheckFailureInfo) -> None:
        failure, interaction = info.failure, recorder.interactions.get(number)
        operation = failure.operation or recorder.label
        known = self.findings.get((failure.title, operation))
        if known is not None:
            known.count += 1
            return
        answer = None if interaction is None else interaction.response
        said = (
            f"{answer.status_code} {answer.content.decode(errors='replace'):.500}" if answer is not None else "nothing"
        )
        self.findings[failure.title, operation] = Finding(
            failure.title, operation, failure.message, info.code_sample, said
        )


@contextmanager
def _hooked(sender: Sender) -> Iterator[None]:
    """Let the sender complete all requests meanwhile."""
    hooks = (sender.before_call, sender.after_call)
    for hook in hooks:
        GLOBAL_HOOK_DISPATCHER.register_hook_with_name(hook, hook.__name__)
    try:
        yield
    finally:
        for hook in hooks:
            GLOBAL_HOOK_DISPATCHER.unregister(hook)
