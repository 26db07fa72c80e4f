"""The documents for contributors name files, modules, functions, commands and headings that exist."""

from __future__ import annotations

import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from ci import ROOT

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    ARCHITECTURE,
    ROOT / "docs" / "correctness.md",
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "scale.md",
    ROOT / "docs" / "decisions" / "README.md",
    *DECISIONS,
]
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".git", ".venv", ".venv.unfinished", ".cache", ".run", ".artifacts", "node_modules", "dist"}
    & set(path.relative_to(ROOT).parts)
)
"""All documents of the project."""
_CODE = re.compile(r"(?<![\w./-])(?:chassis|order|payment|tandem_client)(?:\.\w+)+")
_PATH = re.compile(r"(?<![\w./-])(?:apps|charts|ci|docs|k8s|requirements|tests)/[\w./-]*\w")


@cache
def source() -> str:
    """All the code of the services."""
    return "\n".join(path.read_text() for path in sorted((ROOT / "apps").rglob("*.py")))


def is_code(name: str) -> bool:
    """Whether a dotted name is a module or something in one, or a literal such as an event's type."""
    if f'"{name}"' in source():
        return True
    words = name.split(".")
    for end in range(len(words), 0, -1):
        try:
            found: object = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


def missing(text: str) -> set[str]:
    """Names of code and paths in a text that do not exist."""
    paths = {path for path in _PATH.findall(text) if not (ROOT / path).exists()}
    return paths | {name for name in _CODE.findall(text) if not is_code(name)}


def test_all_code_and_files_that_are_named_exist() -> None:
    assert set().union(*(missing(document.read_text()) for document in DOCUMENTS)) == set()


@pytest.mark.parametrize("name", ["chassis.nowhere", "order.model.Status.NONE", "apps/order/nothing.py"])
def test_what_does_not_exist_is_noticed(name: str) -> None:
    assert missing(f"See `{name}`.") == {name}


def anchors(document: Path) -> list[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+?) *$", text, re.MULTILINE)
    found: list[str] = []
    for heading in headings:
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")
        repeated = sum(each == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", each) is not None for each in found)
        found.append(f"{anchor}-{repeated}" if repeated else anchor)
    return found


def broken(text: str, document: Path) -> list[str]:
    """The links in the text of a document that lead to no file or to no heading."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for target in re.findall(r"\]\(\s*(?!https?:|mailto:)([^)\s]+)\s*\)", text):
        path, _, heading = target.partition("#")
        linked = document.parent / path if path else document
        inside = linked.resolve().is_relative_to(ROOT)
        if not inside or not linked.exists() or (heading and heading not in anchors(linked)):
            found.append(target)
    return found


@pytest.mark.parametrize("document", PAGES, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    assert broken(document.read_text(), document) == []


@pytest.mark.parametrize("target", ["nowhere.md", "README.md#nowhere", "#nowhere", "../../../etc/hostname"])
def test_a_broken_link_is_noticed(target: str) -> None:
    assert broken(f"See [this]({target}).", ROOT / "docs" / "README.md") == [target]


def test_the_index_lists_all_documents_and_the_readme_is_a_screenful() -> None:
    folder = ROOT / "docs"
    index = folder / "README.md"
    listed = set(re.findall(r"\]\(([^)#]+)\)", index.read_text()))
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    folders = {path.name for path in folder.iterdir() if path.is_dir()} - {"examples", "images", "plots"}
    assert {target.removesuffix("/README.md") for target in listed} == pages | folders
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def missing_tests(text: str) -> list[str]:
    """The tests that a text names, as `file::function`, and that do not exist."""
    found = []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        file = ROOT / path
        if not file.exists() or not re.search(rf"^\s*def {name}\(", file.read_text(), re.MULTILINE):
            found.append(f"{path}::{name}")
    return found


def test_the_tests_that_documents_name_exist() -> None:
    assert [each for document in PAGES for each in missing_tests(document.read_text())] == []
    assert missing_tests("`tests/unit/test_documents.py::test_nothing` `tests/nowhere.py::test_nothing`") == [
        "tests/unit/test_documents.py::test_nothing",
        "tests/nowhere.py::test_nothing",
    ]


def test_each_report_of_another_system_has_a_link_and_a_test() -> None:
    rows = re.findall(r"^\| (\[.*) \|$", (ROOT / "docs" / "elsewhere.md").read_text(), re.MULTILINE)
    assert len(rows) >= 20
    for row in rows:
        report, _, here = row.split(" | ")
        assert re.fullmatch(r"\[[^]]+\]\(https://github\.com/[\w./-]+/(?:issues|pull)/\d+\)", report), report
        assert re.search(r"`tests/\S+\.py::\w+`", here), report


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z0-9-]+)", document.read_text(), re.MULTILINE)) <= targets


def test_the_chassis_packages_are_shown_as_they_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["chassis"])
    text = ARCHITECTURE.read_text()
    assert f"    {' > '.join(layers)}\n" in text
    assert {name for layer in layers for name in layer.split(" | ")} == set(re.findall(r"`apps/chassis/(\w+)", text))


def test_all_tables_of_merchants_are_copied_when_one_is_moved() -> None:
    lists = re.search(r"   Order: (.+?)\. Payment: (.+?)\. Copy", (ROOT / "docs/scale.md").read_text(), re.DOTALL)
    assert lists is not None
    for service, listed in zip(("order", "payment"), lists.groups(), strict=True):
        schema = (ROOT / f"docs/schema/{service}.sql").read_text()
        tables = re.findall(
            r"^CREATE TABLE (\w+) \((?:(?!^\)).)*?PRIMARY KEY \((?:\w+, )*merchant\b", schema, re.DOTALL | re.MULTILINE
        )
        # Only releases before 0.3 wrote the inbox, without a merchant.
        assert set(tables) - {"inbox"} == set(re.findall(r"`(\w+)`", listed)), service


def test_the_index_lists_all_decisions() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", index, re.MULTILINE)
    assert [name for _, name, _ in listed] == [path.name for path in DECISIONS]
    for number, (label, name, title) in enumerate(listed, 1):
        text = (ROOT / "docs" / "decisions" / name).read_text()
        assert (int(label), int(name[:4])) == (number, number)
        assert text.startswith(f"# {number}. {title}\n")
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "What was given up", "When to reconsider"], name
