"""The defaults, names and files in the production guide and in k8s/README.md are correct."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci import ROOT
from tests.support.charts.rendering import CHARTS

GUIDE = ROOT / "docs" / "production.md"
PAGES = [GUIDE, ROOT / "k8s" / "README.md"]
FOREIGN = {"kube_deployment_status_replicas_unavailable", "up"}


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table whose header starts with `heading`."""
    _, _, after = GUIDE.read_text().partition(f"| {heading} |")
    assert after, heading
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def value(values: dict[str, Any], path: str) -> Any:
    """Return a value by its dotted path."""
    for key in path.split("."):
        values = values[key]
    return values


def source() -> str:
    """Return all code of the services."""
    return "\n".join(path.read_text() for path in sorted((ROOT / "apps").rglob("*.py")))


def test_values_have_the_defaults_in_the_guide() -> None:
    table = rows("Value | Default")
    assert len(table) > 15
    for service in ("order", "payment"):
        values = yaml.safe_load((CHARTS / service / "values.yaml").read_text())
        for name, default, _ in table:
            assert json.loads(default.strip("`")) == value(values, name.strip("`")), (service, name)


def test_settings_have_the_defaults_in_the_guide() -> None:
    code = re.sub(r"7 \* 24 \* 3600\.0", "604800", source())
    for name, default, _ in rows("Setting | Default"):
        found = re.search(rf'\benv[.,].*?"{name.strip("`")}", ("[^"]*"|[^),]+)[),]', code)
        assert found is not None, name
        said = default.strip("`")
        assert found[1].strip('"').lower() in (said, "" if said == "none" else said), (name, found[1])


def test_metrics_in_the_guide_exist() -> None:
    code = source()
    table = "\n".join(row[1] for row in rows("When | Metric"))
    names = set(re.findall(r"`([a-z_]+)[`{]", table)) - FOREIGN
    ours = {name for name in names if not name.startswith("pg_")} - {"status", "route", "outcome"}
    assert len(ours) > 8
    assert {name for name in ours if f'"{name}"' not in code} == set()


def test_requests_and_limits_in_the_guide_are_those_of_the_charts() -> None:
    for name, container in (
        ("`web` container", "web"),
        ("`relay` container", "relay"),
        ("migration, purge, test", "job"),
    ):
        (row,) = (row for row in rows("| Requested") if row[0] == name)
        for service in ("order", "payment"):
            resources = value(yaml.safe_load((CHARTS / service / "values.yaml").read_text()), f"{container}.resources")
            said = [*row[1].split(", "), row[2]]
            assert said == [*resources["requests"].values(), resources["limits"]["memory"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_have_targets(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, link


def test_folders_and_make_targets_in_the_guide_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    for folder in re.findall(r"-k (k8s/\S+)", text):
        assert (ROOT / folder / "kustomization.yaml").exists(), folder
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"(?:`|^ +)make ([a-z0-9-]+)", text, re.MULTILINE))
    assert {"restore-drill", "manifests"} <= named <= {*targets}


def test_the_connections_of_a_pod_are_those_that_the_charts_count_with() -> None:
    listed = {name: [int(number) for number in numbers] for name, *numbers in rows("For each pod of")}
    for service, provider, name in (
        ("order", "", "order"),
        ("payment", "stripe", "payment with Stripe"),
        ("payment", "simulator", "payment with the simulator"),
    ):
        web = yaml.safe_load((CHARTS / service / "values.yaml").read_text())["web"]
        text = (CHARTS / service / "templates" / f"_{service}.tpl").read_text()
        counted = re.search(r"^connections: (.+)$", text, re.MULTILINE)
        assert counted is not None
        # The chart of payment chooses between its provider's numbers.
        chosen = re.sub(r"\{\{ ternary (\d+) (\d+) \$stripe \}\}", r"\1" if provider == "stripe" else r"\2", counted[1])
        facts = yaml.safe_load(chosen)
        threads = web["workers"] * web["threads"]
        most = threads * facts["perThread"] + facts["others"]
        assert listed[name] == [most, most + threads]
