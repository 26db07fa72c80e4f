"""The charts' files: Helm's linter, metadata, links, dependencies and versions."""

from __future__ import annotations

import re
import shutil
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

import chassis
from ci import ROOT
from tests.support.charts.rendering import ALONE, CHARTS, FILES, Case, merged

SERVICES = ("order", "payment")
# Otherwise each rendering has other passwords.
EXISTING = {
    "credentials": {"existingSecret": "keys"},
    "postgresql": {"existingSecret": "{{ index .Chart.Annotations `tandem/service` }}-database"},
}


def definition(chart: str) -> dict[str, Any]:
    """Return the content of a Chart.yaml."""
    content: dict[str, Any] = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    return content


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_the_linter_finds_nothing(case: Case) -> None:
    values = merged(ALONE[case.chart], case.values)
    report = helm_python.lint(CHARTS / case.chart, values, strict=True, with_subcharts=True)
    warnings = [one for one in report["messages"] if one["severity"] > 1]
    assert (report["errors"], warnings) == ([], [])


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_artifact_hub_annotations_list_the_images_and_changes(chart: str) -> None:
    annotations = definition(chart)["annotations"]
    assert {name for name in annotations if not name.startswith("artifacthub.io/")} <= {"tandem/service"}
    images = {one["image"] for one in yaml.safe_load(annotations["artifacthub.io/images"])}
    assert images == {container["image"] for _, container in Case(chart).containers()}
    changes = yaml.safe_load(annotations["artifacthub.io/changes"])
    assert {one["kind"] for one in changes} <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert all(one["description"] for one in changes)


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_links_in_the_readme_have_targets(chart: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (CHARTS / chart / "README.md").read_text())
    assert links
    assert [link for link in links if not link.startswith("http") and not (CHARTS / chart / link).exists()] == []


@pytest.mark.parametrize("chart", ["order", "payment"])
def test_each_template_of_a_service_is_one_include(chart: str) -> None:
    files = [path for path in (CHARTS / chart / "templates").rglob("*") if path.suffix in (".yaml", ".txt")]
    assert files
    for path in files:
        assert re.fullmatch(r'\{\{ include "[a-zA-Z.]+" \. \}\}\n', path.read_text()), path


def test_the_umbrella_chart_includes_its_dependencies_in_a_checkout_and_in_its_archive(tmp_path: Path) -> None:
    dependencies = {one["name"]: one["status"] for one in helm_python.dependency_list(CHARTS / "tandem")}
    assert dependencies == {"chassis": "unpacked", "order": "unpacked", "payment": "unpacked"}
    with tarfile.open(helm_python.package(CHARTS / "tandem", destination=tmp_path)) as archive:
        names = archive.getnames()
    for service in ("order", "payment"):
        assert f"tandem/charts/{service}/values.schema.json" in names
        assert f"tandem/charts/{service}/charts/chassis/templates/_deployment.tpl" in names


def without_links(chart: str, folder: Path) -> Path:
    """Copy a chart as Flux does: without symbolic links, and with a copy of each dependency that Chart.yaml lists."""
    shutil.copytree(CHARTS / chart, folder / chart, ignore=links)
    for dependency in definition(chart)["dependencies"]:
        source = CHARTS / chart / dependency["repository"].removeprefix("file://")
        shutil.copytree(source, folder / chart / "charts" / dependency["name"], ignore=links)
    return folder


def links(folder: str, names: list[str]) -> list[str]:
    """Return the names that are symbolic links."""
    return [name for name in names if Path(folder, name).is_symlink()]


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_a_chart_renders_the_same_when_a_tool_ignores_symbolic_links(chart: str, tmp_path: Path) -> None:
    values = {"global": {"imageRegistry": "registry.example.com"}} | ALONE[chart]
    values = merged(values, EXISTING if chart != "tandem" else dict.fromkeys(SERVICES, EXISTING))
    flat = Case(chart, values, charts=without_links(chart, tmp_path), cached=False).files()
    assert flat == Case(chart, values).files()


def test_under_an_alias_a_chart_renders_the_same_objects(tmp_path: Path) -> None:
    shop = without_links("tandem", tmp_path)
    metadata = definition("tandem")
    for dependency in metadata["dependencies"][1:]:
        dependency.update(alias=f"my-{dependency['name']}", condition=f"my-{dependency['name']}.enabled")
    (shop / "tandem" / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    values = yaml.safe_load((shop / "tandem" / "values.yaml").read_text())
    aliases = {f"my-{service}": merged(values.pop(service), EXISTING) for service in SERVICES}
    (shop / "tandem" / "values.yaml").write_text(yaml.safe_dump(values | aliases))
    (shop / "tandem" / "values.schema.json").unlink()  # it names the services, as the chart's own templates do
    shutil.rmtree(shop / "tandem" / "templates")
    aliased = Case(charts=shop, cached=False)
    found = {(one["kind"], one["metadata"]["name"]): one for one in aliased.objects()}
    unnamed = Case(values=dict.fromkeys(SERVICES, EXISTING))
    expected = {(one["kind"], one["metadata"]["name"]): one for one in unnamed.objects()}
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        service = one["metadata"]["labels"]["app.kubernetes.io/name"]
        one["metadata"]["labels"]["helm.sh/chart"] = f"my-{service}-{metadata['version']}"
        assert found[name] == one


def test_charts_images_and_project_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chassis.__version__ == version
    for chart in ("chassis", "order", "payment", "tandem"):
        metadata = definition(chart)
        assert metadata["version"] == version, chart
        assert metadata.get("appVersion", version) == version, chart
        assert {one["version"] for one in metadata.get("dependencies", [])} <= {version}, chart
    for service in ("order", "payment"):
        assert f"ARG VERSION={version}\n" in (ROOT / f"Dockerfile.{service}").read_text()
