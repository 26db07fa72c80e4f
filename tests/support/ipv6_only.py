"""Runs both services in a network namespace whose only address is ::1, and has an order paid.

`unshare --net python -m tests.support.ipv6_only FOLDER` reads FOLDER/settings.json: {service: {"web": environment,
"relay": environment}}. It prints JSON: the addresses of the namespace, the order, and the status of each probe. The
databases are reached by Unix sockets, which do not depend on the network.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

_SIOCSIFADDR, _SIOCSIFFLAGS = 0x8916, 0x8914
_UP = 1


def leave_only_ipv6() -> None:
    """Bring the loopback device up, and take its IPv4 address away."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))
        none = struct.pack("HH4s8x", socket.AF_INET, 0, bytes(4))
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s", b"lo", none))


def addresses() -> list[str]:
    """Return which of the loopback addresses of both families exist."""
    found = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            found.append(address)
    return found


def get(url: str, **headers: str) -> tuple[int, str]:
    """Return the status and body of a GET request; status 0 if there is no connection."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            return response.status, response.read().decode()
    except OSError as error:
        return getattr(error, "code", 0), str(error)


def wait(url: str) -> int:
    """Return the status of a probe as soon as it is 200, or the last one after 60 s."""
    deadline = time.monotonic() + 60
    while (status := get(url)[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    return status


def main() -> None:
    """Run the services, place an order, and print what was seen."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    leave_only_ipv6()
    seen: dict[str, Any] = {"addresses": addresses()}
    running = []
    try:
        for service, roles in settings.items():
            commands = {
                "web": ["-m", "gunicorn", "-c", "python:chassis.server.gunicorn_conf", f"{service}:create_app()"],
                "relay": ["-m", "flask", "--app", service, "relay"],
            }
            for role, environment in roles.items():
                with (folder / f"{service}-{role}.log").open("w") as log:
                    command = [sys.executable, *commands[role]]
                    running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        seen["probes"] = {
            f"{service} {name}": wait(f"http://[::1]:{environment[port]}{path}")
            for service, roles in settings.items()
            for name, environment, port, path in (
                ("web", roles["web"], "ADMIN_PORT", "/readyz"),
                ("relay", roles["relay"], "RELAY_ADMIN_PORT", "/livez"),
            )
        }
        seen["order"] = placed(settings["order"]["web"])
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)
    print(json.dumps(seen))


def placed(environment: dict[str, str]) -> dict[str, Any]:
    """Place an order, wait until it is paid, and return it."""
    key = json.loads(environment["API_KEYS"])[0]["key"]
    body = {
        "currency": "EUR",
        "payment_method": "pm_ok",
        "items": [{"sku": "tea", "name": "Tea", "quantity": 1, "unit_amount": 450}],
    }
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "ipv6", "Content-Type": "application/json"}
    url = f"http://[::1]:{environment['PORT']}/v1/orders"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers | {"Prefer": "wait=10"})
    with urllib.request.urlopen(request, timeout=30) as response:
        order: dict[str, Any] = json.load(response)
    deadline = time.monotonic() + 30
    while order["status"] != "paid" and time.monotonic() < deadline:
        time.sleep(0.1)
        order = json.loads(get(f"{url}/{order['id']}", Authorization=headers["Authorization"])[1])
    return order


if __name__ == "__main__":
    main()
