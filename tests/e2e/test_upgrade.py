"""Upgrade from the previous release, whose sources ci/release/previous unpacks, and roll back to it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import helm_python
import pytest

import chassis
from ci import ROOT
from tandem_client import Order
from tests.support.cluster.namespace import SERVER, Namespace, say
from tests.support.cluster.orders import paid, place

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Before:
    """The previous release, installed, with a paid order and its generated API key."""

    namespace: Namespace
    order: Order
    key: str


@pytest.fixture(scope="module")
def before(new_namespace: Callable[..., Namespace], tmp_path_factory: pytest.TempPathFactory) -> Before:
    folder = tmp_path_factory.mktemp("release") / "previous"
    subprocess.run([ROOT / "ci" / "release" / "previous", folder], check=True)
    namespace = new_namespace()
    namespace.install(chart=folder / "charts" / "tandem")
    with namespace.order() as tandem:
        order = paid(tandem, place(tandem).id)
    return Before(namespace, order, namespace.api_key())


def versions(namespace: Namespace) -> set[str]:
    """Return the tags of the services' images that are running."""
    images = {one.image for pod in namespace.pods(SERVER) for one in pod.spec.containers}
    say(f"running: {sorted(images)}")
    return {image.rpartition(":")[2] for image in images}


def test_an_upgrade_and_a_rollback_keep_orders_and_keys(before: Before) -> None:
    namespace = before.namespace
    (previous,) = versions(namespace)
    assert previous != chassis.__version__
    known = {before.order.id}

    def assert_all_is_kept() -> None:
        assert namespace.api_key() == before.key
        with namespace.order() as tandem:
            known.add(paid(tandem, place(tandem).id).id)
            for order in known:
                seen = tandem.get_order(order)
                assert (seen.status, seen.total_amount) == ("paid", 900)
            assert tandem.get_order(before.order.id).created_at == before.order.created_at

    namespace.upgrade({})
    assert versions(namespace) == {chassis.__version__}
    assert_all_is_kept()
    namespace.rollback()
    assert versions(namespace) == {previous}
    assert_all_is_kept()
    namespace.upgrade({})
    assert versions(namespace) == {chassis.__version__}
    assert_all_is_kept()


def test_a_failing_migration_leaves_the_old_release_running(before: Before) -> None:
    namespace = before.namespace
    old = {pod.metadata.uid for pod in namespace.pods(SERVER)}
    unreachable = {
        "postgresql": {"enabled": False},
        "database": {"url": "postgresql://order:none@localhost:1/order"},
        "migration": {"wait": 1},
    }
    with pytest.raises(helm_python.HelmReleaseError, match="pre-upgrade"):
        namespace.upgrade({"order": unreachable})
    assert {pod.metadata.uid for pod in namespace.pods(SERVER)} == old
    with namespace.order() as tandem:
        paid(tandem, place(tandem).id)
