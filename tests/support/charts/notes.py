"""The commands in the notes that Helm prints after an installation."""

from __future__ import annotations

import re


def commands(notes: str) -> list[str]:
    """Return the commands in notes: lines indented by two spaces, joined where they end in a backslash."""
    joined = re.sub(r"\\\n\s+", "", notes)
    return [line.strip() for line in joined.splitlines() if re.match(r"  \S", line)]
