"""The commands that the documents show, as a reader copies them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ci import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "apps" / "client" / "README.md",
    ROOT / "k8s" / "README.md",
]

Kind = Literal["shell", "python", "sql", "tools", "data"]

# Programs that install, build or measure, or that need a cluster. The tests of the charts, `ci/e2e` and the drills
# run them.
_TOOLS = ("kubectl", "helm", "kind", "make", "pg_basebackup", ".venv/bin/pytest", "REGISTRY=", "PROVIDER=")
_SQL = ("SELECT ", "UPDATE ")
_SHELL = ("./tandem ", "./tandem-admin ", "curl ", ". .run/env", "T=")
# Configuration, requests, output, SQL that an administrator runs before there are tables, and other text that is shown
# by itself: the first line begins with one of these.
_DATA = (
    "JWT_ISSUER=",
    "RATE_LIMIT=",
    "RateLimit-Policy:",
    "{",
    "POST ",
    "PATCH ",
    "postgresql://",
    "CREATE ROLE",
    "credentials.",
    "order:",
    "apiVersion:",
    "cli > ",
    r"\btandem_",
    '[{"',
    "An order that is paid",
)
_DATA_FENCES = ("json", "mermaid", "yaml", "text")


@dataclass(frozen=True)
class Block:
    """A block of a document, without its indent. `line` is that of its first line in the document."""

    document: Path
    line: int
    text: str
    fence: str | None

    @property
    def kind(self) -> Kind:
        """What the block is. Raises ValueError if it begins with nothing that is known."""
        if self.fence is not None:
            if self.fence in _DATA_FENCES:
                return "data"
            if self.fence == "python":
                return "python"
            raise ValueError(f"{self}: unknown language {self.fence!r}")
        first = next(line for line in self.text.splitlines() if not line.startswith("#")).removeprefix("$ ")
        kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
            ("python", ("from ", "import ")),
            ("tools", _TOOLS),
            ("sql", _SQL),
            ("shell", _SHELL),
            ("data", _DATA),
        )
        for kind, begins in kinds:
            if first.startswith(begins):
                return kind
        raise ValueError(f"{self}: the block begins with nothing that is known: {first}")

    @property
    def commands(self) -> str:
        """The text to run: of a block with prompts, the lines after a prompt."""
        lines = self.text.splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return "\n".join(prompted or lines) + "\n"

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a document, in order."""
    found: list[str] = []
    fence: str | None = None
    began = indent = 0
    previous_blank, in_list = True, 0
    for number, line in enumerate([*document.read_text().splitlines(), ""], 1):
        if fence is not None:
            if line.startswith("```"):
                yield Block(document, began, "\n".join(found), fence)
                fence, found = None, []
            else:
                found.append(line)
            continue
        width = len(line) - len(line.lstrip(" "))
        if found and line.strip() and width < indent:
            yield Block(document, began, "\n".join(found).rstrip(), None)
            found = []
        if line.startswith("```"):
            fence, began, found = line[3:].strip(), number + 1, []
            continue
        if found:
            found.append(line[indent:])
        elif line.strip():
            marker = re.match(r"(?:[-*]|\d+\.) +", line)
            in_list = len(marker.group()) if marker else in_list if width and width >= in_list else 0
            if not marker and previous_blank and width >= in_list + 4:
                indent, began, found = width, number, [line[width:]]
        previous_blank = not line.strip()
    if found:
        yield Block(document, began, "\n".join(found).rstrip(), None)
