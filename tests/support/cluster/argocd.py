"""Argo CD as processes on this machine, which work on the cluster that KUBECONFIG names.

Needed on PATH: argocd-application-controller, argocd-repo-server, redis-server, helm and git. The first two are one
binary of Argo CD, built from cmd/ of its sources, under two names. ARGOCD_CRDS names the folder of its sources with the
definitions, manifests/crds. Run as a program, this module prints what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ci.laptop.ports import free_port
from tests.support.cluster.kubectl import kubectl, program

PROGRAMS = ("argocd-application-controller", "argocd-repo-server", "redis-server", "helm", "git")
NAMESPACE = "argocd"
_PART = {"app.kubernetes.io/part-of": "argocd"}


def missing() -> list[str]:
    """Return what Argo CD needs and this machine does not have."""
    return [name for name in PROGRAMS if not shutil.which(name)] + ["ARGOCD_CRDS"] * ("ARGOCD_CRDS" not in os.environ)


def apply(*objects: dict[str, Any]) -> None:
    """Create objects or change them."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    subprocess.run([program(), "apply", "-f", "-"], input=text, text=True, timeout=60, check=True)


def application(name: str) -> dict[str, Any]:
    """Return the Application as the controller left it."""
    found: dict[str, Any] = json.loads(kubectl("-n", NAMESPACE, "get", "application", name, "-o", "json"))
    return found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """Run Argo CD, which compares every 10 seconds. Its logs are in `folder`."""
    crds = Path(os.environ["ARGOCD_CRDS"])
    for kind in ("application", "appproject"):
        kubectl("apply", "--server-side", "-f", crds / f"{kind}-crd.yaml")
    kubectl("wait", "--for=condition=Established", "crd/applications.argoproj.io", "crd/appprojects.argoproj.io")
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    apply(*_settings())
    with contextlib.ExitStack() as stack:
        redis, server, metrics, health = (str(free_port()) for _ in range(4))
        for name, argv in {
            "redis-server": ["--port", redis, "--bind", "127.0.0.1", "--save", ""],
            "argocd-repo-server": [
                *("--address", "127.0.0.1", "--port", server, "--redis", f"127.0.0.1:{redis}"),
                *("--metrics-address", "127.0.0.1", "--metrics-port", health),
            ],
            "argocd-application-controller": [
                *("--namespace", NAMESPACE, "--repo-server", f"127.0.0.1:{server}", "--redis", f"127.0.0.1:{redis}"),
                *("--metrics-port", metrics, "--app-resync", "10", "--self-heal-timeout-seconds", "5"),
            ],
        }.items():
            stack.enter_context(_process(folder, [name, *argv]))
        yield


def _settings() -> list[dict[str, Any]]:
    def one(kind: str, name: str, **content: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": NAMESPACE, "labels": _PART}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata} | content

    everywhere = {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    return [
        one("ConfigMap", "argocd-cm", data={"timeout.reconciliation": "10s", "timeout.reconciliation.jitter": "0s"}),
        one("ConfigMap", "argocd-rbac-cm"),
        one("Secret", "argocd-secret", stringData={"server.secretkey": "c2VjcmV0"}),
        one("AppProject", "default", apiVersion="argoproj.io/v1alpha1", spec=everywhere),
    ]


@contextlib.contextmanager
def _process(folder: Path, argv: list[str]) -> Iterator[None]:
    environment = os.environ | {
        "HOSTNAME": "argocd-0",
        "ARGOCD_FAKE_IN_CLUSTER": "true",  # https://kubernetes.default.svc is the cluster of KUBECONFIG
        "ARGOCD_GPG_ENABLED": "false",
        "TMPDIR": str(folder),
    }
    environment |= {f"ARGOCD_{name}": str(folder) for name in ("TLS_DATA_PATH", "SSH_DATA_PATH", "PLUGINSOCKFILEPATH")}
    (folder / "ssh_known_hosts").touch()
    with (folder / f"{argv[0]}.log").open("w") as log:
        process = subprocess.Popen(argv, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    print(*missing())
