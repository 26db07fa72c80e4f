"""Writes what is made of the charts' sources: schemas and READMEs (`python -m ci.charts`; `--check` only compares)."""

from __future__ import annotations

import sys
from pathlib import Path

from ci import chart_docs, chart_schema


def stale() -> dict[Path, str]:
    """The files that are not what their sources make of them, with what they have to be."""
    wanted = chart_schema.texts() | chart_docs.texts()
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text}


def main() -> None:
    """Write what is stale, or with `--check` fail and name it."""
    found = stale()
    for path, text in found.items():
        print(path)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
    if "--check" in sys.argv[1:] and found:
        sys.exit("These differ from their sources; write them with: python -m ci.charts")


if __name__ == "__main__":
    main()
