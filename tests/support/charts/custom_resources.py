"""The shapes of custom resources, for which no package has schemas. They have only the fields that the charts use.

A shape is a type, a list with the shape of its items, or a dict with the shapes of its fields. Fields whose name ends
in "?" are optional. Fields of list items for which the API server has a default are required: it would add them to the
item, and Argo CD would never find the object in sync. From https://gateway-api.sigs.k8s.io/reference/spec/ and
https://prometheus-operator.dev/docs/api-reference/api/.
"""

from __future__ import annotations

from typing import Any

_STRINGS = {str: str}
_METADATA = {"name": str, "namespace": str, "labels": _STRINGS, "annotations?": _STRINGS}
_SCRAPED = {"port": str, "path": str, "interval?": str}
_SELECTED = {"matchLabels": _STRINGS}
_PARENT = {"group": str, "kind": str, "name": str, "namespace?": str, "sectionName?": str, "port?": int}
_RULE = {
    "alert?": str,
    "record?": str,
    "expr": str,
    "for?": str,
    "keep_firing_for?": str,
    "labels?": _STRINGS,
    "annotations?": _STRINGS,
}

SHAPES: dict[tuple[str, str], Any] = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {
        "parentRefs": [_PARENT],
        "hostnames?": [str],
        "rules": [
            {
                "matches": [{"path": {"type": str, "value": str}}],
                "timeouts?": {"request": str},
                "backendRefs": [{"group": str, "kind": str, "name": str, "port": int, "weight": int}],
            }
        ],
    },
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"selector": _SELECTED, "endpoints": [_SCRAPED]},
    ("monitoring.coreos.com/v1", "PodMonitor"): {"selector": _SELECTED, "podMetricsEndpoints": [_SCRAPED]},
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups": [{"name": str, "interval?": str, "limit?": int, "labels?": _STRINGS, "rules": [_RULE]}]
    },
}


def check(one: dict[str, Any]) -> None:
    """Fail if a custom resource does not have the shape of its kind."""
    spec = SHAPES[one["apiVersion"], one["kind"]]
    _check(one, {"apiVersion": str, "kind": str, "metadata": _METADATA, "spec": spec}, one["kind"])


def _check(value: Any, shape: Any, path: str) -> None:
    if isinstance(shape, type):
        assert type(value) is shape, (path, value)
    elif isinstance(shape, list):
        assert isinstance(value, list), (path, value)
        assert value, path
        for number, one in enumerate(value):
            _check(one, shape[0], f"{path}/{number}")
    elif str in shape:
        assert all(type(key) is type(one) is str for key, one in value.items()), (path, value)
    else:
        assert isinstance(value, dict), (path, value)
        fields = {name.rstrip("?"): one for name, one in shape.items()}
        assert value.keys() <= fields.keys(), (path, value.keys() - fields.keys())
        assert {name for name in shape if not name.endswith("?")} <= value.keys(), (path, value.keys())
        for name, one in value.items():
            _check(one, fields[name], f"{path}/{name}")
