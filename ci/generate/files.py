"""Write generated files, or check that they are up to date.

A generator maps each path to the text that belongs there, or to None for a file that must not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from ci import ROOT

Files = Mapping[Path, str | None]


def stale(wanted: Files) -> dict[Path, str | None]:
    """Return the entries of `wanted` that differ from the checkout."""
    return {path: text for path, text in wanted.items() if _read(path) != text}


def main(wanted: Files, target: str) -> None:
    """Write or delete the stale files and print their paths. With `--check`, only print them and exit with an error.

    `target` is the make target that runs this generator; the error names it.
    """
    check = "--check" in sys.argv[1:]
    found = stale(wanted)
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if check:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and found:
        sys.exit(f"These files are out of date. To regenerate them: make {target}")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
