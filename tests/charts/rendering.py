"""Renders the charts as `helm install` and `helm upgrade` would, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
ALONE: dict[str, dict[str, Any]] = {  # the least that each chart wants when it is installed by itself
    "order": {"payment": {"url": "http://payment:8081"}, "credentials": {"existingSecret": "keys"}},
    "payment": {"order": {"url": "http://order:8080"}},
    "tandem": {},
}


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes takes it: a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"twice in one mapping: {twice}, {node.start_mark}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class Case:
    """A chart and the values it is rendered with."""

    chart: str = "tandem"
    values: dict[str, Any] = field(default_factory=dict)
    release: str = "tandem"
    upgrade: bool = False

    def files(self) -> dict[str, str]:
        """The rendered files by path, `<chart>/templates/...`."""
        with helm_python.Chart.load(CHARTS / self.chart) as chart:
            values = merged(ALONE[self.chart], self.values)
            return chart.render(
                values, name=self.release, namespace="shop", is_upgrade=self.upgrade, is_install=not self.upgrade
            )

    def objects(self, kind: str | None = None, service: str | None = None) -> list[dict[str, Any]]:
        """What would be created; of one kind, of one service."""
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
        """The object of this kind and name."""
        (found,) = (one for one in self.objects(kind) if one["metadata"]["name"] == name)
        return found

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod that there would be, from whatever makes it: a title for messages, and its metadata and spec."""
        for one in self.objects():
            pod = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
            if one["kind"] == "CronJob":
                pod = one["spec"]["jobTemplate"]["spec"]["template"]
            if pod:
                yield f"{one['kind']}/{one['metadata']['name']}", pod

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every container of `pods`, with a title."""
        for title, pod in self.pods():
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
                yield f"{title}/{container['name']}", container


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over` put over it, as Helm merges values."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


EXTERNAL: dict[str, Any] = {
    "postgresql": {"enabled": False},
    "database": {"url": "postgresql://me:pa55word@db.example.com/shop"},
}
SECRETS: dict[str, Any] = {
    "postgresql": {"enabled": False},
    "database": {"existingSecret": "shop-app", "existingSecretKey": "uri"},
}
PLACED: dict[str, Any] = {
    "replicaCount": 3,
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"example.com/team": "shop"},
    "priorityClassName": "high",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "shop", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "env": {"DEFAULT_CURRENCY": "USD", "LEASE_SECONDS": 5},
    "networkPolicy": {
        "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "egress": [{"ports": [{"port": 443}], "to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
    },
}
LONG = "a-release-name-of-fifty-three-characters-to-the-point"

MATRIX = {
    "defaults": Case(),
    "defaults upgraded": Case(upgrade=True),
    "the longest name": Case(release=LONG),
    "a name with dots": Case(release="shop.eu"),
    "placed": Case(values={"order": PLACED, "payment": PLACED}),
    "own databases": Case(values={"order": EXTERNAL, "payment": EXTERNAL}),
    "own databases upgraded": Case(values={"order": EXTERNAL, "payment": EXTERNAL}, upgrade=True),
    "own secrets": Case(
        values={
            "order": SECRETS | {"credentials": {"existingSecret": "keys"}},
            "payment": SECRETS | {"credentials": {"existingSecret": "keys"}},
        }
    ),
    "own password": Case(values={"order": {"postgresql": {"existingSecret": "pw", "storageClass": "fast"}}}),
    "Stripe": Case(
        values={
            "payment": {
                "env": {"PROVIDER": "stripe"},
                "secretEnv": {"STRIPE_API_KEY": {"secret": "stripe", "key": "api-key"}},
            }
        }
    ),
    "no policies": Case(values={"order": {"networkPolicy": {"enabled": False}}}),
    "order only": Case(
        values={
            "payment": {"enabled": False},
            "order": {"credentials": {"existingSecret": "keys"}, "payment": {"url": "http://elsewhere:8081"}},
        }
    ),
    "payment only": Case(values={"order": {"enabled": False}, "payment": {"order": {"url": "http://elsewhere"}}}),
    "order by itself": Case("order", release="order"),
    "payment by itself": Case("payment", release="payment"),
    "order by itself, own secrets": Case("order", SECRETS),
    "payment by itself, own secrets": Case("payment", SECRETS | {"credentials": {"existingSecret": "keys"}}),
}
