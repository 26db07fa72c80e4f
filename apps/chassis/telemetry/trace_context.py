"""Validation of the headers of W3C Trace Context, level 1."""

from __future__ import annotations

import re

from chassis import cards

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Without tabs, which the specification allows: no text that the services send each other has control characters.
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def trace_id(traceparent: str) -> str | None:
    """Return the trace id in a traceparent header, or None if it is not valid or contains a card number."""
    trace = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return None if trace is None or cards.has_card_number(traceparent) else trace[1]


def is_state(tracestate: str) -> bool:
    """Return whether a tracestate header may be propagated: it is printable, and contains no card number."""
    return _TRACESTATE.fullmatch(tracestate) is not None and not cards.has_card_number(tracestate)
