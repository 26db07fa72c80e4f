"""Namespaces on the cluster that KUBECONFIG names. Each test file has its own; they are deleted after its last test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import kubernetes
import pytest

from tests.support.cluster.namespace import Installed, Namespace, wait_until

_deleted: list[Namespace] = []


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> Iterator[None]:
    kubernetes.config.load_kube_config()  # type: ignore[no-untyped-call]
    yield
    for namespace in _deleted:
        wait_until(f"{namespace.name} is gone", namespace.is_gone, 180)


@pytest.fixture(scope="module")
def new_namespace() -> Iterator[Callable[..., Namespace]]:
    """Return a function that creates namespaces. They are deleted after the last test of the file."""
    made: list[Namespace] = []

    def make(chart: str = "tandem", release: str | None = None) -> Namespace:
        made.append(Namespace(chart, release))
        return made[-1]

    yield make
    for namespace in made:
        namespace.delete()
    _deleted.extend(made)


@pytest.fixture(scope="module")
def installed(new_namespace: Callable[..., Namespace]) -> Installed:
    """The umbrella chart with its default values, installed."""
    namespace = new_namespace()
    return Installed(namespace, namespace.install())
