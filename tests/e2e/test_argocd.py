"""The Application of docs/gitops.md, synced by Argo CD itself (`make gitops`)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ci import ROOT
from tests.support.cluster import argocd
from tests.support.cluster.credentials import NAME, Credentials, database_secret
from tests.support.cluster.kubectl import kubectl
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.orders import paid, place

pytestmark = pytest.mark.gitops


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Argo CD, and return the URL of a clone of this repository."""
    folder = tmp_path_factory.mktemp("argocd")
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, folder / "tandem.git"], check=True)
    with argocd.running(folder):
        yield f"file://{folder}/tandem.git"


@pytest.fixture
def namespace(new_namespace: Callable[..., Namespace]) -> Iterator[Namespace]:
    """A namespace with the Secrets that the Application names. Its Application is deleted with it."""
    made = new_namespace()
    made.write_secret(NAME, Credentials().content())
    for service in ("order", "payment"):
        made.write_secret(f"{service}-database", database_secret(service))
    yield made
    kubectl("-n", argocd.NAMESPACE, "delete", "application", made.name)


def documented(namespace: Namespace, repository: str, **settings: Any) -> dict[str, Any]:
    """Return the document's Application for this namespace, with embedded databases and these settings of a service."""
    section = (ROOT / "docs" / "gitops.md").read_text().partition("\n## Argo CD\n")[2].partition("\n## ")[0]
    block = re.search(r"(?:^    .*\n|^\n)+", section, re.MULTILINE)
    assert block
    app: dict[str, Any] = yaml.safe_load(block[0])
    app["metadata"] = {"name": namespace.name, "namespace": argocd.NAMESPACE}
    app["spec"]["destination"]["namespace"] = namespace.name
    app["spec"]["source"] |= {"repoURL": repository, "targetRevision": "HEAD"}
    helm = app["spec"]["source"]["helm"]
    assert helm["valuesObject"].pop("global")["imageRegistry"], "the images of this test are on the nodes"
    helm["releaseName"] = "tandem"
    for service in ("order", "payment"):
        values = helm["valuesObject"][service]
        assert values.keys() == {"credentials", "postgresql", "database"}
        helm["valuesObject"][service] = {
            "credentials": {"existingSecret": NAME},
            "postgresql": {"existingSecret": f"{service}-database"},
        } | settings
    return app


def synced(namespace: Namespace, after: str = "") -> dict[str, Any] | None:
    """Return the status if a sync has succeeded that ended later than `after`, and all is synced and healthy."""
    status: dict[str, Any] = argocd.application(namespace.name).get("status", {})
    operation = status.get("operationState", {})
    settled = (operation.get("phase"), status["sync"]["status"], status["health"]["status"]) if operation else ()
    done = settled == ("Succeeded", "Synced", "Healthy") and operation["finishedAt"] > after
    return status if done else None


def migrations(status: dict[str, Any]) -> set[str]:
    """Return the names of the migrations that the last sync has run."""
    hooks = [one for one in status["operationState"]["syncResult"]["resources"] if one.get("hookType") == "Sync"]
    assert all(one["hookPhase"] == "Succeeded" for one in hooks)
    return {one["name"] for one in hooks}


def test_argo_cd_syncs_the_documented_application_and_a_change_of_it(namespace: Namespace, repository: str) -> None:
    argocd.apply(documented(namespace, repository))
    first = wait_until("Argo CD has synced", lambda: synced(namespace), 240)
    assert len(migrations(first)) == 2
    with namespace.order(Credentials().people[0]) as tandem:
        order = paid(tandem, place(tandem, wait=5).id, 60)

    argocd.apply(documented(namespace, repository, logLevel="debug", purge={"enabled": False}))
    ended = first["operationState"]["finishedAt"]
    second = wait_until("Argo CD has synced the change", lambda: synced(namespace, ended), 240)
    assert len(migrations(second) - migrations(first)) == 2, "other migrations have other names"
    assert not [name for name in namespace.objects() if name.startswith(("CronJob/", "Job/"))], "pruned"
    with namespace.order(Credentials().people[0]) as tandem:
        assert tandem.get_order(order.id).status == "paid"

    def compared_again() -> dict[str, Any] | None:
        status = synced(namespace)
        return status if status and status["reconciledAt"] > max(times, default=second["reconciledAt"]) else None

    times: list[str] = []
    while len(times) < 3:
        status = wait_until("Argo CD compares again", compared_again, 60)
        assert status["operationState"]["finishedAt"] == second["operationState"]["finishedAt"], "no sync is repeated"
        times.append(status["reconciledAt"])


def test_argo_cd_shows_why_the_charts_refuse_values_without_secrets(namespace: Namespace, repository: str) -> None:
    refused = documented(namespace, repository)
    refused["spec"]["source"]["helm"]["valuesObject"] = {}
    argocd.apply(refused)

    def conditions() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = argocd.application(namespace.name).get("status", {}).get("conditions", [])
        return found

    (condition,) = wait_until("Argo CD has compared", conditions, 60)
    assert condition["type"] == "ComparisonError"
    assert "must name an existing Secret" in condition["message"]
    assert not namespace.pods()
