"""The charts as files: what Helm's own linter says, and how they hang together."""

from __future__ import annotations

import re
import tarfile
import tomllib
from pathlib import Path

import helm_python
import pytest
import yaml

from tests.charts.rendering import ALONE, CHARTS

ROOT = CHARTS.parent


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_the_linter_is_content(chart: str) -> None:
    report = helm_python.lint(CHARTS / chart, ALONE[chart], strict=True, with_subcharts=True)
    warnings = [one for one in report["messages"] if one["severity"] > 1]
    assert (report["errors"], warnings) == ([], [])


@pytest.mark.parametrize("chart", ["order", "payment"])
def test_each_template_of_a_service_is_one_include(chart: str) -> None:
    files = [path for path in (CHARTS / chart / "templates").rglob("*") if path.suffix in (".yaml", ".txt")]
    assert files
    for path in files:
        assert re.fullmatch(r'\{\{ include "[a-zA-Z.]+" \. \}\}\n', path.read_text()), path


def test_the_chart_installs_from_a_checkout_and_travels_whole(tmp_path: Path) -> None:
    dependencies = {one["name"]: one["status"] for one in helm_python.dependency_list(CHARTS / "tandem")}
    assert dependencies == {"order": "unpacked", "payment": "unpacked"}
    with tarfile.open(helm_python.package(CHARTS / "tandem", destination=tmp_path)) as archive:
        names = archive.getnames()
    for service in ("order", "payment"):
        assert f"tandem/charts/{service}/values.schema.json" in names
        assert f"tandem/charts/{service}/charts/chassis/templates/_deployment.tpl" in names


def test_charts_images_and_project_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for chart in ("order", "payment", "tandem"):
        assert yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["appVersion"] == version
    for service in ("order", "payment"):
        assert f"ARG VERSION={version}\n" in (ROOT / f"Dockerfile.{service}").read_text()
