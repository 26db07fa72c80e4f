"""The parts of gunicorn that our worker overrides or relies on are those that it was tried with."""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
import re
import textwrap
from typing import Any

import pytest

import chassis.server
from chassis.server.balance import BalancedWorker
from chassis.server.connection import Connection
from chassis.server.received import Received
from chassis.server.response import Response
from chassis.server.worker import Worker

RECORDED = {
    "gunicorn.workers.gthread:ThreadWorker.__init__": "(self, *args, **kwargs) a4d7ac17eeec",
    "gunicorn.workers.gthread:ThreadWorker.accept": "(self, listener) 6caa4b7133e9",
    "gunicorn.workers.gthread:ThreadWorker.on_client_socket_readable": "(self, conn, client) 4029c905c805",
    "gunicorn.workers.gthread:ThreadWorker.handle_request": "(self, req, conn) b72831ae2361",
    "gunicorn.workers.gthread:ThreadWorker.finish_request": "(self, conn, fs) c93459933f76",
    "gunicorn.workers.gthread:ThreadWorker.murder_pending": "(self) 1fc61f587d79",
    "gunicorn.workers.gthread:ThreadWorker.set_accept_enabled": "(self, enabled) c9b452c51136",
    "gunicorn.workers.gthread:ThreadWorker.wait_for_and_dispatch_events": "(self, timeout) 9420ba21c0f5",
    "gunicorn.workers.base:Worker.handle_error": "(self, req, client, addr, exc) 63173f1d51ca",
    "gunicorn.workers.gthread:ThreadWorker.run": "(self) 256498008865",
    "gunicorn.workers.gthread:ThreadWorker.init_process": "(self) 85ea9093f830",
    "gunicorn.workers.gthread:ThreadWorker.enqueue_req": "(self, conn) 1f6939fe437d",
    "gunicorn.workers.gthread:ThreadWorker.handle": "(self, conn) c401a623e3f1",
    "gunicorn.workers.gthread:ThreadWorker.murder_keepalived": "(self, force=False) b6a1b47c5a77",
    "gunicorn.workers.gthread:ThreadWorker._keepalive_after": "(self, conn, keepalive) 2d6ecd9048f8",
    "gunicorn.workers.gthread:TConn.__init__": "(self, cfg, sock, client, server) bd9a09c1ceb4",
    "gunicorn.workers.gthread:TConn.init": "(self) 8fefcf572b54",
    "gunicorn.workers.gthread:TConn.set_timeout": "(self) 48ea67b383b6",
    "gunicorn.workers.gthread:TConn.close": "(self, graceful=False) 8c44a09e20eb",
    "gunicorn.http.parser:Parser.__init__": "(self, cfg, source, source_addr) 038a0c3fd83a",
    "gunicorn.http.parser:Parser.__next__": "(self) bd81554c887d",
    "gunicorn.http.parser:Parser.finish_body": "(self, deadline=None, max_bytes=None) 67042d89e0ae",
    "gunicorn.http.unreader:SocketUnreader.__init__": "(self, sock, max_chunk=8192) 36e6600fb4e4",
    "gunicorn.http.unreader:Unreader.read": "(self, size=None, read_ahead=None) 0c4f984626b9",
    "gunicorn.http.unreader:Unreader.unread": "(self, data) 4e5adf90290b",
    "gunicorn.http.unreader:Unreader.take_buffered": "(self) 2c697fddb7f4",
    "gunicorn.http.unreader:SocketUnreader.chunk": "(self, size_hint=None) 6333e08ff40c",
    "gunicorn.http.message:Message.force_close": "(self) 510d824fc7d4",
    "gunicorn.http.message:Message.should_close": "(self) 6cfc6f3203e7",
    "gunicorn.http:wsgi.create": "(req, sock, client, server, cfg, response_class=None, response_args=()) 42cff68f864c",
    "gunicorn.http.wsgi:Response.default_headers": "(self) 7b059444d293",
    "gunicorn.http.wsgi:Response.send_headers": "(self) 4026df01d1db",
    "gunicorn.http.wsgi:Response.write": "(self, arg) e3acacd49558",
    "gunicorn:util.write": "(sock, data, chunked=False) a59c3b84d22d",
    "gunicorn:util.write_chunk": "(sock, data) fcbdddf1991d",
    "gunicorn:util.close": "(sock) 7c464ecdd6ff",
    "gunicorn:http.errors": "module 8313ce99e12a",
}


def source(thing: Any) -> str:
    """Return the source without comments, empty lines and the indentation of the whole."""
    lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def resolve(name: str) -> Any:
    """Return gunicorn's own function or class, also where our server has put a subclass in its place."""
    owner, _, attribute = name.rpartition(".")
    found = pkgutil.resolve_name(owner) if ":" in owner else None
    if inspect.isclass(found) and found.__module__.startswith("chassis"):
        return getattr(found.__base__, attribute)
    return pkgutil.resolve_name(name)


def fingerprint(name: str) -> str:
    thing = resolve(name)
    signature = str(inspect.signature(thing)) if callable(thing) else "module"
    return f"{signature} {hashlib.sha256(source(thing).encode()).hexdigest()[:12]}"


@pytest.mark.parametrize("name", RECORDED)
def test_gunicorn_is_what_the_server_was_tried_with(name: str) -> None:
    found = fingerprint(name)
    assert found == RECORDED[name], (
        f"{name} is not what the server was tried with. Read what changed in gunicorn, and check the code that"
        " chassis/server/__init__.py names for it. Run tests/integration/chassis and tests/integration/faults."
        f" Then record {found!r} here, and the version in pyproject.toml."
    )


def test_the_table_lists_what_is_recorded() -> None:
    assert chassis.server.__doc__ is not None
    listed = re.findall(r"^    ([\w.]+\.\w+) {2,}\S", chassis.server.__doc__, re.MULTILINE)
    assert sorted(listed) == sorted(name.partition(":")[2] for name in RECORDED)


@pytest.mark.parametrize("ours", [Worker, BalancedWorker, Connection, Received, Response])
def test_every_override_is_recorded_and_takes_the_same_arguments(ours: type) -> None:
    recorded = {resolve(name) for name in RECORDED}
    for name, function in vars(ours).items():
        overridden: Any = getattr(super(ours, ours), name, None)
        if not inspect.isfunction(function) or getattr(overridden, "__module__", "chassis").startswith("chassis"):
            continue  # our own method, or an override of our own
        assert overridden in recorded, name
        if name != "__init__":
            assert list(inspect.signature(function).parameters) == list(inspect.signature(overridden).parameters), name
