"""The Prefer header's `wait` (RFC 7240, section 4.3): how long a caller would like to wait for an outcome."""

from __future__ import annotations

from werkzeug.http import parse_dict_header

MAX_WAIT = 10


def wait(header: str | None) -> int | None:
    """The seconds that `Prefer: wait=N` asks for, at most 10; None when it does not ask, or asks nonsense."""
    if not header:
        return None
    # RFC 7240 lets preferences be separated by commas and carry parameters after semicolons.
    preferences = parse_dict_header(header.replace(";", ","))
    value = next((value for name, value in preferences.items() if name.lower() == "wait"), None)
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return min(int(value[:9]), MAX_WAIT)
