"""`make manifests`: render k8s/ from the charts, for use without Helm.

Each folder with a values.yaml is rendered from the charts with those values. The base has all objects. An overlay has
additional objects (`objects.yaml`) and the differences to the base (`changes/`, JSON patches, RFC 6902). What only
Helm handles is removed or replaced: hooks, labels about the release, namespaces, generated secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

from ci import ROOT
from ci.generate import files

CHART, K8S = ROOT / "charts" / "tandem", ROOT / "k8s"
BASE, TEST = K8S / "base", K8S / "test"
OVERLAYS = (K8S / "overlays" / "dev", K8S / "overlays" / "production")
RELEASE = "tandem"
HEADER = "# Rendered from charts/tandem with values.yaml by `make manifests`.\n"
JOB_SECONDS = 300
"""Seconds after which a finished Job is deleted, because an overlay that changes the image cannot rename the Job."""
_HASHED = re.compile(r"(-(?:migrate|test))-[0-9a-f]{8}$")

Object = dict[str, Any]


def texts() -> dict[Path, str | None]:
    """Return the text of each generated file by its path, and None for patches that are no longer needed."""
    patches = [path for overlay in OVERLAYS for path in (overlay / "changes").glob("*.yaml")]
    found: dict[Path, str | None] = dict.fromkeys(patches)
    found |= {BASE / "objects.yaml": _yaml(*objects(BASE)), TEST / "objects.yaml": _yaml(*test_jobs())}
    base = {_key(each): each for each in objects(BASE)}
    for overlay in OVERLAYS:
        wanted = {_key(each): each for each in objects(overlay)}
        if missing := base.keys() - wanted.keys():
            raise ValueError(f"{overlay.name} removes {sorted(missing)} of the base; overlays can only add and change")
        found[overlay / "objects.yaml"] = _yaml(*(each for key, each in wanted.items() if key not in base))
        for key, each in base.items():
            if operations := list(difference(each, wanted[key])):
                found[overlay / "changes" / f"{'-'.join(key).lower()}.yaml"] = _yaml(operations)
    return found


def objects(folder: Path) -> list[Object]:
    """Return the objects that the charts render from the base's values, overridden by those of the folder."""
    values = yaml.safe_load((BASE / "values.yaml").read_text())
    if folder != BASE:
        values = _merged(values, yaml.safe_load((folder / "values.yaml").read_text()))
    return [_plain(one) for one in _rendered(values) if not _hook(one)]


def test_jobs() -> list[Object]:
    """Return the charts' tests as Jobs. In the charts they are pods that `helm test` runs."""
    values = yaml.safe_load((BASE / "values.yaml").read_text())
    return [_plain(_job(one)) for one in _rendered(values) if _hook(one) == "test"]


def difference(before: Any, after: Any, path: str = "") -> Iterator[Object]:
    """Yield the operations of a JSON patch that turns `before` into `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in after:
                yield {"op": "remove", "path": below}
            elif key not in before:
                yield {"op": "add", "path": below, "value": after[key]}
            else:
                yield from difference(before[key], after[key], below)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from difference(old, new, f"{path}/{number}")
    elif before != after:
        yield {"op": "replace", "path": path, "value": after}


def _rendered(values: Object) -> list[Object]:
    with helm_python.Chart.load(CHART) as chart:
        rendered = chart.render(values, name=RELEASE, namespace="default", is_upgrade=False, is_install=True)
    made = [one for path, text in rendered.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return sorted(made, key=_key)


def _hook(one: Object) -> str:
    hook: str = one["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return hook


def _job(pod: Object) -> Object:
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if not _of_helm(key)}
    template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
    metadata = {key: value for key, value in pod["metadata"].items() if key != "annotations"}
    metadata["name"] = _HASHED.sub(r"\1", metadata["name"])  # for `kubectl logs job/...`
    spec = {"backoffLimit": 0, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _plain(one: Object) -> Object:
    """Return an object that kubectl can apply in any namespace, without metadata of the Helm release."""
    if one["kind"] == "Secret":
        raise ValueError(f"Secret {one['metadata']['name']}: set an existing one in values.yaml; none is written here")
    metadata = one["metadata"]
    del metadata["namespace"]
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if not _of_helm(key)}
    # The database's URL is in a Secret that is not rendered here, so this checksum would never change.
    pod = one.get("spec", {}).get("template", {}).get("metadata", {})
    pod.get("annotations", {}).pop("checksum/database", None)
    if pod.get("annotations") == {}:
        del pod["annotations"]
    if one["kind"] == "Job":
        one["spec"]["ttlSecondsAfterFinished"] = JOB_SECONDS
        metadata.get("annotations", {}).pop("helm.toolkit.fluxcd.io/driftDetection", None)
    return one


def _of_helm(label: str) -> bool:
    return label in ("helm.sh/chart", "app.kubernetes.io/managed-by")


def _key(one: Object) -> tuple[str, str]:
    """Return what identifies an object in the base and in overlays: kind and name, a Job's without its hash."""
    return one["kind"], _HASHED.sub(r"\1", one["metadata"]["name"])


def _merged(under: Object, over: Object) -> Object:
    return {
        **under,
        **{
            key: _merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
            for key, value in over.items()
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and strings of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(*documents: Any) -> str:
    made = (yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120) for one in documents)
    return HEADER + "---\n".join(made)


if __name__ == "__main__":
    files.main(texts(), "manifests")
