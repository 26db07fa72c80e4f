"""What the callers know: their requests and the responses."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """A request, its key, and its final response; None if that is unknown.

    `order_id` is the order that the request is about, if it existed before. `sent` is the time of the first attempt and
    `received` that of the response, in seconds on the monotonic clock.
    """

    merchant: str
    kind: str
    body: dict[str, Any] | None
    key: str | None
    order_id: str | None = None
    status: int | None = None
    answer: dict[str, Any] | None = None
    sent: float = field(default_factory=time.monotonic)
    received: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the response is known and no error."""
        return self.status in (200, 201, 202)

    @property
    def may_have_acted(self) -> bool:
        """Whether the request was executed, or may have been: no response is known."""
        return self.status is None or self.succeeded


@dataclass
class Log:
    """What the callers know: their requests, counts of outcomes, and wrong responses."""

    requests: list[Request] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: Request) -> None:
        """Record a finished request."""
        outcome = "no answer" if request.status is None else str(request.status)
        with self._lock:
            self.requests.append(request)
            self.outcomes[request.kind, outcome] += 1

    def complain(self, what: str) -> None:
        """Record a wrong response."""
        with self._lock:
            self.complaints.append(what)

    def acknowledged(self, *kinds: str) -> list[Request]:
        """Return the requests of these kinds that succeeded."""
        return [r for r in self.requests if r.kind in kinds and r.succeeded]
