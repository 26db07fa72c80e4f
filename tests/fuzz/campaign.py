"""Requests to one service, generated from its OpenAPI document by schemathesis, with all of its checks.

Valid and invalid requests are generated at random, one by one (fuzzing) and in sequences that follow the document's
links (stateful). Before that come the document's examples, and requests at the bounds of each schema (coverage), which
are the same in every run.
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

METHODS = [
    "pm_ok",
    "pm_declined",
    "pm_insufficient_funds",
    "pm_refund_declined",
    "pm_void_declined",
    "pm_capture_declined",
    "pm_error_then_ok",
]
"""Payment methods that lead to all states of an order or a payment, within milliseconds."""

_UNSIGNED = "an event without a valid signature is rejected with 400; the check expects 401 or 403"
_DECIMALS = "the permitted decimals and size of an amount depend on the default currency"
SWITCHED_OFF = {
    "/v1/payment-events": {"ignored_auth": _UNSIGNED},
    "/v1/provider-events/{provider}": {"ignored_auth": "the simulator does not sign its events"},
    "/orders": {"positive_data_acceptance": _DECIMALS},
    "/payments": {"positive_data_acceptance": _DECIMALS},
}
"""The checks that are disabled for a path, and why. All others are enabled for all paths."""

SWITCHED_OFF_FOR_STRANGERS = {"/v1/payment-events": {"positive_data_acceptance": _UNSIGNED}}
"""The checks that are also disabled for requests without a key."""

MAY_BE_ANSWERED = ["2xx", "304", "401", "403", "404", "409", "412", "429"]
"""The permitted statuses for valid requests: the usual ones, and 412, because a generated If-Match cannot match."""

MAY_REJECT = ["400", "401", "403", "404", "405", "406", "409", "412", "414", "415", "422", "428", "429", "5xx"]
"""The permitted statuses for invalid requests: the usual ones, and 414, because a generated query can be too long."""

PHASES = ("examples", "coverage", "fuzzing", "stateful")
DRAWN = ("fuzzing", "stateful")


@dataclass
class Finding:
    """A way in which an operation differs from its description, how often, and the first request that shows it."""

    title: str
    operation: str
    message: str
    request: str
    answer: str
    count: int = 1


@dataclass(kw_only=True)
class Campaign:
    """Requests to one service.

    With `examples`, fuzzing and stateful tests alternate until that many requests have been generated, for `seconds` at
    most. Without, each runs once. `per_turn` is the number of requests for each operation and turn. Requests of a
    `stranger` have no key or an invalid one. `folder` is for a configuration file; `receiver` is the URL of a webhook
    receiver.
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
        """The number of requests that fuzzing and stateful tests have sent so far."""
        return sum(self.requests[phase] for phase in DRAWN)

    @property
    def is_clean(self) -> bool:
        """Whether all requests were sent and there are no findings."""
        return not self.findings and not self.errors and self.drawn >= self.examples and len(self.answers) > 0

    def run(self, tick: Callable[[Campaign], None] = lambda _: None) -> None:
        """Generate and send all requests. `tick` is called from time to time, to print the progress."""
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
        """Delete all webhook endpoints: their number per merchant is limited, and more would be rejected."""
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
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": MAY_BE_ANSWERED},
                    "negative_data_rejection": {"expected-statuses": MAY_REJECT},
                },
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
        """Configure two merchants, which must not see each other's data. Requests are sent as the first one."""
        keys = {"demo": KEY, "other": OTHER_KEY}
        held = [
            {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
            for name, key in keys.items()
        ]
        path = self.folder / "merchants.json"
        path.write_text(json.dumps({"auth": held}))
        return {"wfc": {"path": str(path), "user": "demo", "peers": list(keys)}}

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
    """Let the sender complete all requests."""
    hooks = (sender.before_call, sender.after_call)
    for hook in hooks:
        GLOBAL_HOOK_DISPATCHER.register_hook_with_name(hook, hook.__name__)
    try:
        yield
    finally:
        for hook in hooks:
            GLOBAL_HOOK_DISPATCHER.unregister(hook)
