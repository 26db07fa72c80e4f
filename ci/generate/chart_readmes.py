"""The tables of values in the charts' READMEs, generated from the comments in values.yaml.

A comment that begins with `# --` documents the value below it, including everything nested in that value. The rest of
a README, outside the two markers, is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ci import ROOT

CHARTS = ROOT / "charts"
BEGIN, END = "<!-- values.yaml: begin -->", "<!-- values.yaml: end -->"


def texts() -> dict[Path, str]:
    """Return each chart's README by its path. Raises ValueError if a value is not documented."""
    return {CHARTS / chart / "README.md": readme(CHARTS / chart) for chart in ("order", "payment", "tandem")}


def readme(chart: Path) -> str:
    """Return a chart's README with a new table of values. Raises ValueError if a value is not documented."""
    before, rest = (chart / "README.md").read_text().split(BEGIN)
    _, after = rest.split(END)
    rows = [
        f"| `{path}` | {default} | {text} |" for path, default, text in documented((chart / "values.yaml").read_text())
    ]
    return "\n".join([f"{before}{BEGIN}", "| Value | Default | |", "| --- | --- | --- |", *rows, f"{END}{after}"])


def documented(values: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and description of each value. Raises ValueError if a value is not documented."""
    root = yaml.compose(values, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _documented(root, values.splitlines(), "")


def _documented(mapping: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in mapping.value:
        path = f"{prefix}{key.value}"
        if text := _comment(lines, key.start_mark.line):
            yield path, _default(value), text
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _documented(value, lines, f"{path}.")
        else:
            raise ValueError(f"line {key.start_mark.line + 1}: {path} has no comment that begins with '# --'")


def _comment(lines: list[str], line: int) -> str:
    """Return the `# --` comment directly above a line, or an empty string."""
    first = line
    while first > 0 and re.match(r" *#", lines[first - 1]):
        first -= 1
    text = " ".join(each.strip().removeprefix("#").strip() for each in lines[first:line])
    return text.removeprefix("-- ").replace("|", "\\|") if text.startswith("-- ") else ""


def _default(node: yaml.Node) -> str:
    value: Any = yaml.SafeLoader("").construct_document(node)
    return f"`{json.dumps(value)}`" if value not in ("", [], {}) else ""
