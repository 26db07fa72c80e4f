"""Builds a kustomization without kubectl. Supports the features that k8s/ uses; others are an error.

tests/e2e compares its output with that of `kubectl kustomize`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ci import ROOT

K8S = ROOT / "k8s"
Object = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions", "images", "patches"}
CLUSTER_WIDE = {"Namespace"}


def definition(folder: Path) -> Object:
    """Return the kustomization of a folder."""
    content: Object = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert content.keys() <= KNOWN, (folder, content.keys() - KNOWN)
    return content


def build(folder: Path) -> list[Object]:
    """Return all objects of a folder. Generated names have no hash of their content."""
    wanted = definition(folder)
    objects = [one for path in wanted["resources"] for one in _read(folder / path)]
    for patch in wanted.get("patches", []):
        target = patch["target"]
        (found,) = (
            one
            for one in objects
            if one["kind"] == target["kind"] and re.fullmatch(target["name"], one["metadata"]["name"])
        )
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            apply(found, operation)
    for generated in wanted.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generated["files"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data})
    for one in objects:
        _set_namespace(one, wanted.get("namespace"))
        for container in containers(one):
            container["image"] = renamed(container["image"], wanted.get("images", []))
    return objects


def apply(value: Any, operation: Object) -> None:
    """Apply one operation of a JSON patch (RFC 6902). `add` needs a new member, the others an existing one."""
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
    """Return the pod template of an object, or None."""
    spec = one.get("spec", {})
    found: Object | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return found


def containers(one: Object) -> list[Object]:
    """Return all containers of an object's pod template."""
    template = pod(one)
    return template["spec"].get("initContainers", []) + template["spec"]["containers"] if template else []


def _read(path: Path) -> list[Object]:
    return build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _set_namespace(one: Object, namespace: str | None) -> None:
    if namespace is None:
        return
    if one["kind"] == "Namespace":
        one["metadata"]["name"] = namespace
    if one["kind"] not in CLUSTER_WIDE:
        one["metadata"]["namespace"] = namespace
    for subject in one.get("subjects", []):
        subject["namespace"] = namespace


def renamed(image: str, images: list[Object]) -> str:
    """Return the image that a kustomization's `images` replace this image by."""
    for wanted in images:
        if image.partition(":")[0] == wanted["name"]:
            return f"{wanted['newName']}@{wanted['digest']}"
    return image
