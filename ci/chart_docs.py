"""The tables of values in the charts' READMEs, from the comments in their values.yaml.

A comment that begins with `# --` explains the value below it, whatever that value holds. A README is written by hand
but for what is between its two markers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parents[1] / "charts"
BEGIN, END = "<!-- values.yaml: begin -->", "<!-- values.yaml: end -->"


def texts() -> dict[Path, str]:
    """What each README of a chart has to be, by its path. Raises ValueError for a value without explanation."""
    return {CHARTS / chart / "README.md": readme(CHARTS / chart) for chart in ("order", "payment", "tandem")}


def readme(chart: Path) -> str:
    """A chart's README with its table of values made anew. Raises ValueError for a value without explanation."""
    before, rest = (chart / "README.md").read_text().split(BEGIN)
    _, after = rest.split(END)
    rows = [
        f"| `{path}` | {default} | {text} |" for path, default, text in explained((chart / "values.yaml").read_text())
    ]
    return "\n".join([f"{before}{BEGIN}", "| Value | Default | |", "| --- | --- | --- |", *rows, f"{END}{after}"])


def explained(text: str) -> Iterator[tuple[str, str, str]]:
    """Each value's path, default and explanation. Raises ValueError for a value without explanation."""
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _explained(root, text.splitlines(), "")


def _explained(mapping: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in mapping.value:
        path = f"{prefix}{key.value}"
        if text := _comment(lines, key.start_mark.line):
            yield path, _default(value), text
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _explained(value, lines, f"{path}.")
        else:
            raise ValueError(f"line {key.start_mark.line + 1}: {path} has no comment that begins with '# --'")


def _comment(lines: list[str], line: int) -> str:
    """The explanation right above a line, or nothing."""
    first = line
    while first > 0 and re.match(r" *#", lines[first - 1]):
        first -= 1
    words = " ".join(one.strip().removeprefix("#").strip() for one in lines[first:line])
    return words.removeprefix("-- ").replace("|", "\\|") if words.startswith("-- ") else ""


def _default(node: yaml.Node) -> str:
    value: Any = yaml.SafeLoader("").construct_document(node)
    return f"`{json.dumps(value)}`" if value not in ("", [], {}) else ""
