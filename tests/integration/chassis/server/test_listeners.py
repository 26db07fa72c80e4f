"""Which addresses the services listen on: both families by default, and what HOST names."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from chassis.server import listeners
from ci import ROOT
from ci.laptop.ports import free_port
from tests.support.databases import Databases
from tests.support.settings import environment

FAMILIES = ("127.0.0.1", "::1")


def reached(port: int) -> list[str]:
    """Return the loopback addresses at which a connection to the port is accepted."""
    found = []
    for address in FAMILIES:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), timeout=2).close()
            found.append(address)
    return found


@pytest.mark.parametrize(
    ("host", "families"),
    [
        ("", FAMILIES),
        ("::", FAMILIES),
        ("[::]", FAMILIES),
        ("0.0.0.0", ("127.0.0.1",)),
        ("127.0.0.1", ("127.0.0.1",)),
        ("::1", ("::1",)),
        ("[::1]", ("::1",)),
    ],
)
def test_a_value_of_host_means_the_same_for_all_listeners(host: str, families: tuple[str, ...]) -> None:
    with listeners.listen(host, 0, "PORT") as listener:
        assert tuple(reached(listener.getsockname()[1])) == families
    for bind in listeners.binds(host, "8080"):
        assert bind.endswith(":8080")
        assert bind.removesuffix(":8080") in {"[::]", "0.0.0.0", "127.0.0.1", "[::1]"}


def test_a_host_that_is_no_address_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="HOST=no.such.host.invalid"):
        listeners.listen("no.such.host.invalid", 0, "PORT")


def test_without_ipv6_in_the_kernel_ipv4_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert listeners.binds("", "8080") == ["0.0.0.0:8080"]


def test_an_ipv4_client_of_a_socket_of_both_families_has_its_ipv4_address() -> None:
    with (
        listeners.listen("", 0, "PORT") as listener,
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])),
    ):
        accepted, address = listener.accept()
        accepted.close()
    assert address[0] == "::ffff:127.0.0.1"
    assert listeners.plain(address)[0] == "127.0.0.1"
    assert listeners.plain(("::1", 5, 0, 0)) == ("::1", 5, 0, 0)


@contextlib.contextmanager
def unix_socket(folder: Path, port: int) -> Iterator[None]:
    """Forward the Unix socket in `folder`, where libpq looks for it, to a port of 127.0.0.1."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / ".s.PGSQL.5432"))
    listener.listen(128)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_an_order_is_paid_in_a_network_that_has_only_ipv6(databases: Databases, tmp_path: Path) -> None:
    ports = {name: [str(free_port()) for _ in range(3)] for name in ("order", "payment")}
    peers = {"PAYMENT_URL": f"http://[::1]:{ports['payment'][0]}", "ORDER_URL": f"http://[::1]:{ports['order'][0]}"}
    settings = {}
    for name, (port, admin, relay_admin) in ports.items():
        url = urlsplit(databases.service_url(name))
        (tmp_path / f"metrics-{name}").mkdir()
        own = {
            **os.environ,
            **environment(f"postgresql://{url.username}:{url.password}@{url.path}?host={tmp_path}", peers),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "apps"), str(ROOT)]),
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / f"metrics-{name}"),
            "PORT": port,
            "ADMIN_PORT": admin,
            "RELAY_ADMIN_PORT": relay_admin,
        }
        own.pop("HOST", None)
        settings[name] = {"web": own, "relay": own}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (server,) = {urlsplit(databases.service_url(name)).port for name in ports}
    assert server
    with unix_socket(tmp_path, server):
        argv = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "tests.support.ipv6_only", str(tmp_path)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(tmp_path.glob("*.log")))
    assert done.returncode == 0, done.stderr + logs
    seen = json.loads(done.stdout)
    assert seen["addresses"] == ["::1"]
    assert set(seen["probes"].values()) == {200}, logs
    assert (seen["order"]["status"], seen["order"]["total_amount"]) == ("paid", 450), logs
