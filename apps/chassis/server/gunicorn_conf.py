"""gunicorn's settings, the same for every service.

Start a service with `gunicorn -c python:chassis.server.gunicorn_conf "PACKAGE:create_app()"`.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from chassis.server import admin
from chassis.server.arrivals import MAX_LINE
from chassis.telemetry import metrics, tracing

_host = os.environ.get("HOST", "0.0.0.0")
bind = f"{_host}:{os.environ.get('PORT', '8080')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "6"))
worker_class = "chassis.server.worker.Worker"
preload_app = True  # workers share the memory of what was imported; connections are opened after the fork
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
timeout = 30
graceful_timeout = 25
keepalive = 75  # longer than the idle time-out of common proxies and clients, so that they close first
accesslog = None  # the application writes one line a request
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
sendfile = False  # all answers go through the worker's own hands
worker_connections = 500  # a worker's, all kept within 1024 open files
limit_request_line = MAX_LINE
limit_request_fields = 100
limit_request_field_size = 8190
header_map = "refuse"  # a_b and a-b are one name to a WSGI application: who sends the first means to be the second
forwarder_headers = ""  # nobody sets SCRIPT_NAME for us, not even from this host
secure_scheme_headers: dict[str, str] = {}


def on_starting(server: Any) -> None:
    """Open the admin port once, before the workers are forked: they share it. Raises OSError when it is taken."""
    server.admin_listener = admin.listen(_host, int(os.environ.get("ADMIN_PORT", "9090")))


def when_ready(server: Any) -> None:
    """Leave what was imported out of all garbage collections: it stays, and its pages stay shared."""
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Answer on the admin port from a thread apart from those that serve requests, and send spans from another."""
    service = worker.app.wsgi().extensions["tandem"]
    admin.serve(worker.admin_listener, service.admin)
    tracing.start(service.name, metrics.WEB)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker what it shares with the others."""
    worker.take_slot()
    worker.admin_listener = server.admin_listener


def worker_exit(server: Any, worker: Any) -> None:
    """Send the last spans, from the worker that ends."""
    tracing.stop()


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that is gone had."""
    worker.leave_slot()
    metrics.process_died(worker.pid)
