"""Which trace a request is part of, as its headers say (W3C Trace Context, level 1), if that can be kept."""

from __future__ import annotations

import re

from chassis import cards

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e\t]{1,512}")


def trace_id(traceparent: str) -> str | None:
    """The id of the trace that a traceparent names; None if it is none, or has a card number in it."""
    trace = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return None if trace is None or cards.has_card_number(traceparent) else trace[1]


def has_state(tracestate: str) -> bool:
    """Whether a tracestate can be handed on."""
    return _TRACESTATE.fullmatch(tracestate) is not None and not cards.has_card_number(tracestate)
