"""The charts' schemas and READMEs are up to date, and both services document shared values in the same way."""

from __future__ import annotations

import pytest

from ci.generate import chart_readmes, charts, files
from tests.support.charts.rendering import CHARTS


def test_schemas_and_readmes_are_up_to_date() -> None:
    assert not files.stale(charts.texts()), "to regenerate them: make charts"


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_every_value_is_in_the_readme(chart: str) -> None:
    paths = [path for path, _, _ in chart_readmes.documented((CHARTS / chart / "values.yaml").read_text())]
    text = (CHARTS / chart / "README.md").read_text()
    assert paths
    assert all(f"| `{path}` |" in text for path in paths)


def test_a_value_without_documentation_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"line 3: web\.threads"):
        list(chart_readmes.documented("web:\n  # An aside.\n  threads: 4\n"))


def test_a_row_has_the_value_s_path_its_default_and_the_whole_comment() -> None:
    text = '# -- A count\n# | of pods.\nweb: {threads: 4}\nrelay:\n  # -- Where.\n  url: ""\n'
    assert list(chart_readmes.documented(text)) == [
        ("web", '`{"threads": 4}`', "A count \\| of pods."),
        ("relay.url", "", "Where."),
    ]


def test_both_services_document_shared_values_in_the_same_words() -> None:
    order, payment = (
        {path: row for path, *row in chart_readmes.documented((CHARTS / chart / "values.yaml").read_text())}
        for chart in ("order", "payment")
    )
    own = {"image.repository", "credentials.existingSecret", "networkPolicy.enabled", "networkPolicy.anyNamespace"}
    different = {path for path in order.keys() & payment.keys() if order[path] != payment[path]}
    assert different == own
    assert {path.split(".")[0] for path in order.keys() ^ payment.keys()} == {
        "payment",
        "order",
        "operator",
        "publisher",
        "webhooks",
        "provider",
        "credentials",
    }
