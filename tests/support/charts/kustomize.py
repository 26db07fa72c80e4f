"""What `kubectl kustomize` makes of a folder, as far as k8s/ asks for it, without kubectl.

tests/e2e holds it to the real one. What it does not know of a kustomization is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ci import ROOT

K8S = ROOT / "k8s"
Object = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}


def definition(folder: Path) -> Object:
    """The kustomization of a folder."""
    content: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert content.keys() <= KNOWN, (folder, content.keys() - KNOWN)
    return content


def build(folder: Path) -> list[Object]:
    """All objects; generated names are without the hash of their content."""
    wanted = definition(folder)
    objects = [one for path in wanted["resources"] for one in _read(folder / path)]
    for patch in wanted.get("patches", []):
        target = patch["target"]
        (found,) = (
            one for one in objects if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])
        )
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            apply(found, operation)
    for generated in wanted.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generated["files"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data})
    for one in objects:
        _place(one, wanted.get("namespace"))
        for container in containers(one):
            container["image"] = renamed(container["image"], wanted.get("images", []))
    return objects


def apply(value: Any, operation: Object) -> None:
    """One operation of a JSON patch (RFC 6902), on what has to be there for it."""
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    for part in parents:
        value = value[int(part) if isinstance(value, list) else part]
    key: Any = int(last) if isinstance(value, list) else last
    exists = key < len(value) if isinstance(value, list) else key in value
    assert exists == (operation["op"] != "add"), operation
    if operation["op"] == "remove":
        del value[key]
    else:
        value[key] = operation["value"]


def pod(one: Object) -> Object | None:
    """The template of the pods that an object makes."""
    spec = one.get("spec", {})
    found: Object | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return found


def containers(one: Object) -> list[Object]:
    """The containers of its pods."""
    template = pod(one)
    return template["spec"].get("initContainers", []) + template["spec"]["containers"] if template else []


def _read(path: Path) -> list[Object]:
    return build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _place(one: Object, namespace: str | None) -> None:
    if namespace is None:
        return
    if one["kind"] == "Namespace":
        one["metadata"]["name"] = namespace
    if one["kind"] not in CLUSTER_WIDE:
        one["metadata"]["namespace"] = namespace
    for subject in one.get("subjects", []):
        subject["namespace"] = namespace


def renamed(image: str, images: list[Object]) -> str:
    """The image that a kustomization takes in the place of one."""
    for wanted in images:
        if image.partition(":")[0] == wanted["name"]:
            return f"{wanted['newName']}@{wanted['digest']}"
    return image
