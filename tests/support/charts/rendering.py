"""Renders the charts as `helm install` and `helm upgrade` do, without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python
import yaml

from ci import ROOT

CHARTS = ROOT / "charts"
# A rendering without a cluster refuses to generate secrets, except as a preview.
PREVIEW = {"global": {"previewSecrets": True}}
ALONE: dict[str, dict[str, Any]] = {  # the values that each chart requires when it is rendered alone
    "order": {"payment": {"url": "http://payment:8081"}, "credentials": {"existingSecret": "keys"}} | PREVIEW,
    "payment": {"order": {"url": "http://order:8080"}} | PREVIEW,
    "tandem": PREVIEW,
}


class _Loader(yaml.CSafeLoader):
    """Loads YAML as Kubernetes does: a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"duplicate keys: {twice}, {node.start_mark}"
        return super().construct_mapping(node, deep)


def unhashed(one: dict[str, Any]) -> str:
    """Return an object's name. From those of Jobs and test pods, the hash of their content is removed."""
    return re.sub(r"(-(?:migrate|test))-[0-9a-f]{8}$", r"\1", one["metadata"]["name"])


_RENDERED: dict[str, dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Case:
    """A chart and the values it is rendered with. With `cached`, it is rendered only once."""

    chart: str = "tandem"
    values: dict[str, Any] = field(default_factory=dict)
    release: str = "tandem"
    namespace: str = "shop"
    upgrade: bool = False
    charts: Path = CHARTS
    cached: bool = True

    def files(self) -> dict[str, str]:
        """Return the rendered files by path, `<chart>/templates/...`."""
        key = repr(self)
        if key not in _RENDERED or not self.cached:
            _RENDERED[key] = self._render()
        return _RENDERED[key]

    def _render(self) -> dict[str, str]:
        with helm_python.Chart.load(self.charts / self.chart) as chart:
            values = merged(ALONE[self.chart], self.values)
            return chart.render(
                values,
                name=self.release,
                namespace=self.namespace,
                is_upgrade=self.upgrade,
                is_install=not self.upgrade,
            )

    def notes(self) -> str:
        """Return the notes that Helm prints."""
        return self.files()[f"{self.chart}/templates/NOTES.txt"]

    def objects(self, kind: str | None = None, service: str | None = None) -> list[dict[str, Any]]:
        """Return the rendered objects, optionally of one kind or one service."""
        return [
            one
            for path, text in self.files().items()
            if path.endswith(".yaml")
            for one in yaml.load_all(text, _Loader)  # noqa: S506
            if one
            and kind in (None, one["kind"])
            and service in (None, one["metadata"]["labels"]["app.kubernetes.io/name"])
        ]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """Return the object of this kind and name. The names of Jobs and test pods are given without their hash."""
        (found,) = (one for one in self.objects(kind) if unhashed(one) == name)
        return found

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every pod and pod template, each with a title for messages."""
        for one in self.objects():
            pod = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
            if one["kind"] == "CronJob":
                pod = one["spec"]["jobTemplate"]["spec"]["template"]
            if pod:
                yield f"{one['kind']}/{unhashed(one)}", pod

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every container of `pods`, each with a title for messages."""
        for title, pod in self.pods():
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
                yield f"{title}/{container['name']}", container


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge the values of `over` into those of `under`, as Helm does."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


EXTERNAL: dict[str, Any] = {
    "postgresql": {"enabled": False},
    "database": {"url": "postgresql://me:pa55word@db.example.com/shop"},
}
PAYMENTS = {"database": {"url": "postgresql://me:pa55word@db.example.com/payments"}}
LONG = "a-release-name-of-fifty-three-characters-to-the-point"


PLACEHOLDER = "sha256:REPLACE-WITH-THE-DIGEST-OF-YOUR-IMAGE"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def from_file(chart: str, name: str, digest: str = DIGEST) -> Case:
    """Return a chart with one of the values files in its ci folder, where chart-testing finds them too.

    `digest` takes the place of the placeholders in it.
    """
    text = (CHARTS / chart / "ci" / f"{name}-values.yaml").read_text()
    return Case(chart, yaml.safe_load(text.replace(PLACEHOLDER, digest)), release=chart)


FILES = {
    f"{chart}/{name}": from_file(chart, name)
    for chart in ALONE
    for path in sorted((CHARTS / chart / "ci").glob("*-values.yaml"))
    if (name := path.name.removesuffix("-values.yaml"))
}
MATRIX = FILES | {
    "defaults": Case(),
    "defaults upgraded": Case(upgrade=True),
    "the longest name": Case(release=LONG),
    "a name with dots": Case(release="shop.eu"),
    "own databases upgraded": Case(values={"order": EXTERNAL, "payment": EXTERNAL | PAYMENTS}, upgrade=True),
    "order only": Case(
        values={
            "payment": {"enabled": False},
            "order": {"credentials": {"existingSecret": "keys"}, "payment": {"url": "http://elsewhere:8081"}},
        }
    ),
    "payment only": Case(values={"order": {"enabled": False}, "payment": {"order": {"url": "http://elsewhere"}}}),
}
