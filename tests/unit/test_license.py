"""The license: its text is whole, and everything that is published names it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci import ROOT
from ci.generate.openapi import texts

IDENTIFIER = "Apache-2.0"
# Of https://www.apache.org/licenses/LICENSE-2.0.txt, appendix included.
DIGEST = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
CHARTS = sorted(path.parent for path in ROOT.glob("charts/*/Chart.yaml"))


def project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return found


def test_the_text_is_the_standard_one() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == DIGEST


@pytest.mark.parametrize("folder", ["apps/client", "apps/client-ts", "charts/order", "charts/payment", "charts/tandem"])
def test_what_is_installed_by_itself_has_the_same_text(folder: str) -> None:
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("folder", [".", "apps/client"])
def test_a_python_project_names_it_and_its_file(folder: str) -> None:
    described = project(ROOT / folder / "pyproject.toml")
    assert described["license"] == IDENTIFIER
    assert described["license-files"] == ["LICENSE"]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_names_it(chart: Path) -> None:
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert described["annotations"]["artifacthub.io/license"] == IDENTIFIER


@pytest.mark.parametrize("service", ["order", "payment"])
def test_an_image_names_it(service: str) -> None:
    labels = dict(re.findall(r'(org\.opencontainers\.\S+)="([^"]*)"', (ROOT / f"Dockerfile.{service}").read_text()))
    assert labels["org.opencontainers.image.licenses"] == IDENTIFIER


def test_an_openapi_document_names_it() -> None:
    for text in texts().values():
        license_ = yaml.safe_load(text)["info"]["license"]
        assert license_["identifier"] == IDENTIFIER
        assert license_["name"]
