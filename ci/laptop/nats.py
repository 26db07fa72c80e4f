"""NATS with JetStream for `make run EVENTS=nats`: a broker that gets the events of all orders."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ci.laptop import launch
from ci.laptop.ports import ADDRESS
from ci.laptop.state import State
from ci.laptop.supervisor import Process


class BrokerUnknown(Exception):
    """EVENTS names a broker that `make run` cannot start. The message says which ones it can."""


def is_wanted() -> bool:
    """Return whether EVENTS asks for a broker. Raises `BrokerUnknown`."""
    broker = os.environ.get("EVENTS", "")
    if broker not in ("", "nats"):
        raise BrokerUnknown(f"EVENTS={broker}: must be nats, or empty for no broker")
    return broker == "nats"


def program() -> str:
    """Return the path of the server, which pip has installed beside Python."""
    found = shutil.which("nats-server", path=Path(sys.executable).parent)
    if found is None:
        raise BrokerUnknown("nats-server is not installed: make run installs it, from requirements/laptop.txt")
    return found


def url(port: int) -> str:
    """Return the URL of the server, for EVENTS_URL."""
    return f"nats://{ADDRESS}:{port}"


def server(state: State, port: int) -> Process:
    """Return the process of the server. It keeps its messages in the state directory."""
    store = str(state.path / "nats")
    argv = [program(), "--addr", ADDRESS, "--port", str(port), "--jetstream", "--store_dir", store]
    return Process(state, "nats", launch.with_parent(argv, "TERM"))


def publisher(state: State, port: int, env: Mapping[str, str]) -> Process:
    """Return the process that publishes the events; `env` are the settings of order."""
    argv = [sys.executable, "-m", "flask", "--app", "order", "publisher"]
    env = {**env, "EVENTS_URL": url(port)}
    return Process(state, "order-publisher", launch.with_parent(argv, "TERM"), env=env)
