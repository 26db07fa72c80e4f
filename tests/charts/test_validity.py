"""The rendered objects are valid for the oldest supported and the newest known version of Kubernetes."""

from __future__ import annotations

import re

import pytest
from kubernetes_validate import utils

from tests.support.charts import custom_resources
from tests.support.charts.kubernetes import NEWEST, OLDEST
from tests.support.charts.rendering import Case, from_file


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(case: Case, version: str) -> None:
    objects = case.objects()
    assert objects
    for one in objects:
        if (one["apiVersion"], one["kind"]) in custom_resources.SHAPES:
            custom_resources.check(one)
        else:
            utils.validate(one, version, strict=True)


def test_an_unknown_field_of_a_custom_resource_is_detected() -> None:
    route = from_file("tandem", "gateway").one("HTTPRoute", "tandem-order")
    custom_resources.check(route)
    route["spec"]["rules"][0]["backendRefs"][0]["prot"] = 8080
    with pytest.raises(AssertionError, match="prot"):
        custom_resources.check(route)


def test_names_are_unique_and_short_enough(case: Case) -> None:
    # https://kubernetes.io/docs/concepts/overview/working-with-objects/names/. For StatefulSets and CronJobs: 63
    # characters minus the suffixes of their pods and jobs.
    longest = {"StatefulSet": 52, "CronJob": 52, "Secret": 253, "ConfigMap": 253}
    names = [(one["kind"], one["metadata"]["name"]) for one in case.objects()]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert len(name) <= longest.get(kind, 63), (kind, name)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or kind == "Secret", (kind, name)
