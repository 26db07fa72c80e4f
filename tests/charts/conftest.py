"""Every rendering of the charts, for tests of what holds for each."""

from __future__ import annotations

import functools

import pytest
from kubernetes_validate import utils

from tests.support.charts.rendering import MATRIX, Case


@pytest.fixture(scope="session", autouse=True)
def _read_schemas_once() -> None:
    utils.schema_contents = functools.cache(utils.schema_contents)


@pytest.fixture(params=list(MATRIX.values()), ids=list(MATRIX))
def case(request: pytest.FixtureRequest) -> Case:
    """Each chart with each set of values."""
    assert isinstance(request.param, Case)
    return request.param
