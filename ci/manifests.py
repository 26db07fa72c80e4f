"""Renders k8s/ from the charts, for people without Helm (`python -m ci.manifests`; `--check` only compares).

Each folder with a values.yaml holds what the charts make of those values: the base all of it, the others what is
there besides (`objects.yaml`) and what is different (`changes/`, JSON patches, RFC 6902). What Helm does and kubectl
does not is taken out or put in plain terms: hooks, labels about the release, namespaces, generated secrets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[1]
CHART, K8S = ROOT / "charts" / "tandem", ROOT / "k8s"
BASE, TEST = K8S / "base", K8S / "test"
OVERLAYS = (K8S / "overlays" / "dev", K8S / "overlays" / "production")
RELEASE = "tandem"
HEADER = "# Rendered from charts/tandem with values.yaml by `make manifests`.\n"
JOB_SECONDS = 300
"""A Job that has ended is gone after so many seconds: an apply with another image could not change it."""

Object = dict[str, Any]


def texts() -> dict[Path, str]:
    """What each rendered file has to be, by its path."""
    found = {BASE / "objects.yaml": _yaml(*objects(BASE)), TEST / "objects.yaml": _yaml(*tests())}
    base = {_key(one): one for one in objects(BASE)}
    for overlay in OVERLAYS:
        wanted = {_key(one): one for one in objects(overlay)}
        if gone := base.keys() - wanted.keys():
            raise ValueError(f"{overlay.name} would have to remove {sorted(gone)}, which no overlay does")
        found[overlay / "objects.yaml"] = _yaml(*(one for key, one in wanted.items() if key not in base))
        for key, one in base.items():
            if operations := list(difference(one, wanted[key])):
                found[overlay / "changes" / f"{'-'.join(key).lower()}.yaml"] = _yaml(operations)
    return found


def stale() -> dict[Path, str | None]:
    """The files that are not what the charts make of them, with what they have to be; None: not there."""
    wanted = texts()
    found: dict[Path, str | None] = {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text
    }
    kept = [path for overlay in OVERLAYS for path in (overlay / "changes").glob("*.yaml")]
    return found | {path: None for path in kept if path not in wanted}


def objects(folder: Path) -> list[Object]:
    """All that the charts make of the base's values, and the folder's over them."""
    values = yaml.safe_load((BASE / "values.yaml").read_text())
    if folder != BASE:
        values = _merged(values, yaml.safe_load((folder / "values.yaml").read_text()))
    return [_plain(one) for one in _rendered(values) if not _hook(one)]


def tests() -> list[Object]:
    """The charts' tests, pods that Helm runs when it is asked to, as Jobs."""
    values = yaml.safe_load((BASE / "values.yaml").read_text())
    return [_plain(_job(one)) for one in _rendered(values) if _hook(one) == "test"]


def difference(before: Any, after: Any, path: str = "") -> Iterator[Object]:
    """The operations of a JSON patch that make `after` of `before`."""
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
        files = chart.render(values, name=RELEASE, namespace="default", is_upgrade=False, is_install=True)
    made = [one for path, text in files.items() if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return sorted(made, key=_key)


def _hook(one: Object) -> str:
    hook: str = one["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return hook


def _job(pod: Object) -> Object:
    labels = {key: value for key, value in pod["metadata"]["labels"].items() if not _of_helm(key)}
    template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
    metadata = {key: value for key, value in pod["metadata"].items() if key != "annotations"}
    spec = {"backoffLimit": 0, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _plain(one: Object) -> Object:
    """An object as kubectl may apply it: in any namespace, and without what only Helm knows."""
    if one["kind"] == "Secret":
        raise ValueError(f"Secret {one['metadata']['name']}: name an existing one in values.yaml; none is kept here")
    metadata = one["metadata"]
    del metadata["namespace"]
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if not _of_helm(key)}
    # Where the database is, a Secret says that is not ours: the checksum of the values would never change.
    one.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {}).pop("checksum/database", None)
    if one["kind"] == "Job":
        one["spec"]["ttlSecondsAfterFinished"] = JOB_SECONDS
    return one


def _of_helm(label: str) -> bool:
    return label in ("helm.sh/chart", "app.kubernetes.io/managed-by")


def _key(one: Object) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def _merged(under: Object, over: Object) -> Object:
    return {
        **under,
        **{
            key: _merged(under[key], value) if isinstance(value, dict) and isinstance(under.get(key), dict) else value
            for key, value in over.items()
        },
    }


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(*documents: Any) -> str:
    made = (yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120) for one in documents)
    return HEADER + "---\n".join(made)


def main() -> None:
    """Write what is stale, or with `--check` fail and name it."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" in sys.argv[1:]:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if "--check" in sys.argv[1:] and found:
        sys.exit("These are not what the charts make of them; write them with: make manifests")


if __name__ == "__main__":
    main()
