"""Namespaces of the cluster that KUBECONFIG names, gone when their tests are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import kubernetes
import pytest

from tests.e2e.cluster import Namespace


@dataclass(frozen=True, slots=True)
class Installed:
    """The chart with its default values, installed."""

    namespace: Namespace
    seconds: float


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> None:
    kubernetes.config.load_kube_config()  # type: ignore[no-untyped-call]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.delete()


@pytest.fixture(scope="session")
def installed() -> Iterator[Installed]:
    made = Namespace()
    try:
        yield Installed(made, made.install())
    finally:
        made.delete()
