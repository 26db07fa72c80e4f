"""The configuration for those who join: hooks run what `make lint` runs, and the changelog has the version."""

from __future__ import annotations

import configparser
import re

import yaml

from ci.state import ROOT


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_the_hooks_run_what_lint_runs_and_fetch_nothing() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    lint = makefile().partition("\nlint:")[2].partition("\n\n")[0].replace("$(BIN)", ".venv/bin")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        (tool,) = re.findall(r"\.venv/bin/\S+(?: check| format)?", hook["entry"])
        assert tool in lint, hook["id"]
    assert len(repository["hooks"]) == lint.count(".venv/bin/")


def test_the_editor_s_configuration_agrees_with_the_formatter() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[preamble]\n" + (ROOT / ".editorconfig").read_text())
    assert parser["preamble"]["root"] == "true"
    assert parser["*"]["end_of_line"] == "lf"
    assert f"line-length = {parser['*.py']['max_line_length']}\n" in (ROOT / "pyproject.toml").read_text()
    assert parser["Makefile"]["indent_style"] == "tab"


def test_the_newest_version_in_the_changelog_is_the_one_in_the_checkout() -> None:
    headings = re.findall(
        r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert headings[0] == ("Unreleased", "")
    assert all(date for _, date in headings[1:])
    version = yaml.safe_load((ROOT / "charts/tandem/Chart.yaml").read_text())["version"]
    assert headings[1][0] == version
