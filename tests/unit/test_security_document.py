"""docs/security.md names tests that exist, at least one for each control."""

from __future__ import annotations

import ast
import re

from ci import ROOT, audit

TEXT = audit.DOCUMENT.read_text(encoding="utf-8")


def test_every_test_that_it_names_exists() -> None:
    named = audit.named_tests(TEXT)
    assert len(named) > 40
    for test in named:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_control_names_a_test() -> None:
    tables = re.findall(r"^\| Control \| Test \|\n\| --- \| --- \|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if not audit.named_tests(row)] == []
