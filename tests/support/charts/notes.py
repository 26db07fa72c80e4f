"""The commands in what Helm prints after an installation: a line for each, as one would paste them."""

from __future__ import annotations

import re


def commands(notes: str) -> list[str]:
    """The commands of NOTES.txt: lines that begin with two spaces, with the lines that a backslash joins to them."""
    joined = re.sub(r"\\\n\s+", "", notes)
    return [line.strip() for line in joined.splitlines() if re.match(r"  \S", line)]
