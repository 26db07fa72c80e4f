"""Every rendering of the charts, for the tests of what must hold of each."""

from __future__ import annotations

import pytest

from tests.charts.rendering import MATRIX, Case


@pytest.fixture(params=list(MATRIX.values()), ids=list(MATRIX))
def case(request: pytest.FixtureRequest) -> Case:
    assert isinstance(request.param, Case)
    return request.param
