"""k8s/ is rendered from the charts, is valid, and contains no secret."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import responses
import yaml
from kubernetes_validate import utils

from chassis import __version__
from ci.generate import files, manifests
from tests.support.charts import kustomize
from tests.support.charts.kubernetes import NEWEST, OLDEST
from tests.support.charts.kustomize import K8S, Object
from tests.support.charts.pod_security import violations
from tests.support.charts.rendering import PLACEHOLDER

FOLDERS = sorted(path.parent for path in K8S.rglob("kustomization.yaml"))
NAMES = [str(folder.relative_to(K8S)) for folder in FOLDERS]
DEV, PRODUCTION = K8S / "overlays" / "dev", K8S / "overlays" / "production"


@pytest.fixture(params=FOLDERS, ids=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return the object of this kind and name."""
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def script(path: Path) -> ModuleType:
    """Load a script of a ConfigMap as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manifests_are_up_to_date() -> None:
    assert files.stale(manifests.texts()) == {}, "to regenerate them: make manifests"


@pytest.mark.parametrize("overlay", manifests.OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_builds_what_the_charts_render_with_its_values(overlay: Path) -> None:
    wanted = manifests.objects(overlay)
    built = kustomize.build(overlay)
    images = kustomize.definition(overlay).get("images", [])
    assert wanted
    for each in wanted:
        found = one(built, each["kind"], each["metadata"]["name"])
        each["metadata"]["namespace"] = kustomize.definition(overlay)["namespace"]
        for container in kustomize.containers(each):
            container["image"] = kustomize.renamed(container["image"], images)
        assert found == each


def test_a_patch_has_only_the_differences() -> None:
    before = {"a": 1, "b": {"c/d": [1, {"e": 2}], "f": 3}, "same": [1]}
    after = {"a": 1, "b": {"c/d": [1, {"e": 4}]}, "same": [1], "new": [5, 6]}
    operations = list(manifests.difference(before, after))
    assert [(each["op"], each["path"]) for each in operations] == [
        ("replace", "/b/c~1d/1/e"),
        ("remove", "/b/f"),
        ("add", "/new"),
    ]
    for operation in operations:
        kustomize.apply(before, operation)
    assert before == after


def test_every_file_is_in_its_kustomization(folder: Path) -> None:
    wanted = kustomize.definition(folder)
    named = {path for path in wanted["resources"] if not (folder / path).is_dir()}
    named |= {patch["path"] for patch in wanted.get("patches", [])}
    named |= {path for each in wanted.get("configMapGenerator", []) for path in each["files"]}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".yaml", ".py")}
    if folder == K8S / "base" or folder in manifests.OVERLAYS:
        there.remove("values.yaml")
    assert named == there - {"kustomization.yaml"}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(folder: Path, version: str) -> None:
    objects = kustomize.build(folder)
    assert objects
    for each in objects:
        utils.validate(each, version, strict=True)


def test_pods_are_restricted_and_have_memory_limits(folder: Path) -> None:
    for each in kustomize.build(folder):
        pod = kustomize.pod(each)
        if pod is not None:
            assert violations(pod) == [], each["metadata"]["name"]
            assert all(container["resources"]["limits"]["memory"] for container in kustomize.containers(each))


def test_tandem_s_images_have_the_current_version(folder: Path) -> None:
    images = {
        image for each in kustomize.build(folder) for image in re.findall(r'"image": "([^"]+)"', json.dumps(each))
    }
    ours = {image for image in images if re.search(r"(^|/)(tandem/)?(order|payment):", image)}
    assert {image.rpartition(":")[2] for image in ours} <= {__version__}


def test_no_helm_metadata_is_left(folder: Path) -> None:
    assert not re.search(r"helm\.sh/|managed-by|checksum/", json.dumps(kustomize.build(folder)))


def test_no_secret_is_in_any_file(folder: Path) -> None:
    assert "Secret" not in {each["kind"] for each in kustomize.build(folder)}
    assert "secretGenerator" not in (folder / "kustomization.yaml").read_text()


def test_finished_jobs_are_deleted(folder: Path) -> None:
    # A Job's template is immutable, so an apply with a new image would fail if the old Job still existed.
    for each in kustomize.build(folder):
        if each["kind"] == "Job":
            assert each["spec"]["ttlSecondsAfterFinished"] > 0, each["metadata"]["name"]


def secrets_wanted(objects: list[Object]) -> dict[str, set[str]]:
    """Return the Secrets that pods mount, with the keys that they use."""
    wanted: dict[str, set[str]] = {}
    for each in objects:
        template = kustomize.pod(each) or {"spec": {}}
        for volume in template["spec"].get("volumes", []):
            sources: list[Any] = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
            sources += [{"name": one["secretName"], **one} for one in [volume.get("secret")] if one]
            for source in sources:
                wanted.setdefault(source["name"], set()).update(item["key"] for item in source["items"])
    return wanted


def test_dev_generates_every_secret_that_pods_mount_with_new_values_each_time() -> None:
    script_of_dev = script(DEV / "make_secrets.py")
    made, again = script_of_dev.new_secrets(), script_of_dev.new_secrets()
    wanted = secrets_wanted(kustomize.build(DEV))
    for folder in (K8S / "test", K8S / "load"):
        for name, keys in secrets_wanted(kustomize.build(folder)).items():
            assert keys <= wanted.setdefault(name, set()) | {"api-key"}
    assert wanted.keys() == made.keys()
    for name, keys in wanted.items():
        assert keys <= made[name].keys(), name
        for key in keys:
            assert made[name][key] != again[name][key], (name, key)
    keys = {each["key"] for each in json.loads(made["tandem-credentials"]["api-keys"])}
    assert keys == {made["tandem-credentials"]["api-key"], made["tandem-credentials"]["payment-api-key"]}


def test_dev_s_database_urls_match_its_databases() -> None:
    objects = kustomize.build(DEV)
    for name in ("order", "payment"):
        secret = script(DEV / "make_secrets.py").new_secrets()[f"tandem-{name}-database"]
        service = one(objects, "Service", f"tandem-{name}-postgresql")
        port = service["spec"]["ports"][0]["port"]
        host = service["metadata"]["name"]
        assert secret["url"] == f"postgresql://{name}:{secret['password']}@{host}:{port}/{name}"
        assert secret["service-url"] == f"postgresql://{name}_service:{secret['service-password']}@{host}:{port}/{name}"


def test_only_the_job_that_creates_secrets_has_a_token_and_it_permits_nothing_else() -> None:
    objects = kustomize.build(DEV)
    holders = {
        each["metadata"]["name"]
        for each in objects
        if (pod := kustomize.pod(each)) and pod["spec"].get("automountServiceAccountToken", True)
    }
    assert holders == {"tandem-make-secrets"}
    rules = one(objects, "Role", "tandem-make-secrets")["rules"]
    assert rules == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
    assert {each["kind"] for each in objects} & {"ClusterRole", "ClusterRoleBinding"} == set()


def test_kind_maps_order_s_port_to_the_one_in_the_readme() -> None:
    (node,) = yaml.safe_load((K8S / "kind.yaml").read_text())["nodes"]
    (mapping,) = node["extraPortMappings"]
    (port,) = one(kustomize.build(DEV), "Service", "tandem-order")["spec"]["ports"]
    assert mapping["containerPort"] == port["nodePort"]
    assert f"http://localhost:{mapping['hostPort']}/v1/orders" in (K8S / "README.md").read_text()


def test_production_is_highly_available_and_isolated_and_has_no_database() -> None:
    objects = kustomize.build(PRODUCTION)
    kinds = [each["kind"] for each in objects]
    assert kinds.count("HorizontalPodAutoscaler") == kinds.count("PodDisruptionBudget") == 2
    assert "StatefulSet" not in kinds
    assert all("replicas" not in each["spec"] for each in objects if each["kind"] == "Deployment")
    assert all(each["spec"]["minReplicas"] >= 3 for each in objects if each["kind"] == "HorizontalPodAutoscaler")
    namespace = one(objects, "Namespace", "tandem")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert one(objects, "NetworkPolicy", "deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in ("tandem-order", "tandem-payment"):
        callers = one(objects, "NetworkPolicy", name)["spec"]["ingress"][0]["from"]
        assert {"namespaceSelector": {}} not in callers
    images = {container["image"] for each in objects for container in kustomize.containers(each)}
    assert images
    assert all(image.endswith(f"@{PLACEHOLDER}") for image in images), "each deployment names its own digests"


@pytest.mark.parametrize(("folder", "job"), [("test", "tandem-order-test"), ("load", "tandem-load")])
def test_policies_of_production_admit_the_test_and_the_load(folder: str, job: str) -> None:
    objects = kustomize.build(PRODUCTION)
    labels = one(kustomize.build(K8S / folder), "Job", job)["spec"]["template"]["metadata"]["labels"]
    own = one(objects, "NetworkPolicy", "tandem-order-test")["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert [port["port"] for rule in own["egress"] for port in rule["ports"]] == [53, 53, "http", 8081]
    (api,) = (
        rule
        for rule in one(objects, "NetworkPolicy", "tandem-order")["spec"]["ingress"]
        if rule["ports"] == [{"port": "http"}]
    )
    assert [
        peer
        for peer in api["from"]
        if peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels.items()
        and "namespaceSelector" not in peer
    ]


def test_the_load_is_limited_in_count_and_time() -> None:
    spec = one(kustomize.build(K8S / "load"), "Job", "tandem-load")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    settings = {each["name"]: each["value"] for each in container["env"]}
    payment_timeout = payment_timeout_of(K8S / "load" / "load.py")
    assert int(settings["ORDERS"]) > 0
    assert int(settings["SECONDS"]) + payment_timeout < spec["activeDeadlineSeconds"]
    assert spec["backoffLimit"] == 0


def payment_timeout_of(path: Path) -> float:
    """The script's PAYMENT_TIMEOUT in seconds, read from its text: importing it needs its environment variables."""
    found = re.search(r"^PAYMENT_TIMEOUT = ([0-9.]+)", path.read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Load the script that creates dev's Secrets, with the service account of a pod in the namespace `shop`."""
    for name, text in (("namespace", "shop"), ("token", "t0ken"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    module = script(DEV / "make_secrets.py")
    monkeypatch.setattr(module, "ACCOUNT", tmp_path)
    return module


SECRETS_OF_SHOP = "https://kubernetes.default.svc/api/v1/namespaces/shop/secrets"


@responses.activate
def test_dev_s_secrets_are_created_and_existing_ones_are_kept(
    account: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for status in (201, 409, 201):
        responses.post(SECRETS_OF_SHOP, status=status, json={})
    account.main()
    asked = [json.loads(call.request.body or "") for call in responses.calls]
    assert [each["metadata"]["name"] for each in asked] == list(account.new_secrets())
    assert all(call.request.headers["Authorization"] == "Bearer t0ken" for call in responses.calls)
    for each in asked:
        utils.validate(each, NEWEST, strict=True)
    said = capsys.readouterr().out
    assert said.splitlines()[1] == "tandem-order-database exists already and is kept"
    assert not any(value in said for each in asked for value in each["stringData"].values())


@responses.activate
def test_a_secret_that_cannot_be_created_fails_the_job(account: ModuleType) -> None:
    responses.post(SECRETS_OF_SHOP, status=403, json={"message": "secrets is forbidden"})
    with pytest.raises(SystemExit, match="tandem-credentials: HTTP 403 secrets is forbidden"):
        account.main()
