"""gunicorn's settings, the same for every service.

Start a service with `gunicorn -c python:chassis.server.gunicorn_conf "PACKAGE:create_app()"`. An invalid setting ends
the start with one sentence and exit status 2.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from chassis.server import admin, listeners, startup
from chassis.server.request_buffer import MAX_LINE
from chassis.telemetry import metrics, tracing

_host = os.environ.get("HOST", "")
_per_address = startup.number("WEB_CONNECTIONS_PER_ADDRESS", 0, 0, 1_000_000)  # per worker; 0 is any number
bind = listeners.binds(_host, str(startup.port("PORT", 8080)))
workers = startup.number("WEB_WORKERS", 2, 1, 128)
threads = startup.number("WEB_THREADS", 6, 1, 1_000_000)
worker_class = "chassis.server.worker.Worker"
preload_app = True  # workers share the memory of the imported modules; connections are opened after the fork
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
timeout = 30
graceful_timeout = 25
# Longer than a proxy's: then the proxy closes first.
keepalive = startup.number("WEB_KEEP_ALIVE_SECONDS", 75, 1, 1_000_000)
accesslog = None  # the application logs each request
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
sendfile = False  # responses must go through BufferedSocket.sendall
worker_connections = startup.number("WEB_CONNECTIONS", 500, 1, 1_000_000)  # per worker; below the limit of open files
limit_request_line = MAX_LINE
limit_request_fields = 100
limit_request_field_size = 8190
header_map = "refuse"  # WSGI maps a_b and a-b to one name: a client could set a header that a proxy strips
forwarder_headers = ""  # no client may set SCRIPT_NAME, not even one on this host
secure_scheme_headers: dict[str, str] = {}


def on_starting(server: Any) -> None:
    """Open the admin ports before the fork, so that all workers share them. Ends the process if one is in use."""
    server.admin_listener = startup.listen(_host, "ADMIN_PORT", 9090)
    server.operator_listener = startup.listen(_host, "OPERATOR_PORT", 0) if os.environ.get("OPERATOR_PORT") else None


def when_ready(server: Any) -> None:
    """Exclude all objects so far from garbage collection, which would write to pages that the workers share."""
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Start the threads of a new worker that serve the admin port and that export spans."""
    service = worker.app.wsgi().extensions["tandem"]
    admin.serve(worker.admin_listener, service.admin)
    if worker.operator_listener is not None:
        admin.serve(worker.operator_listener, service.pages)
    tracing.start(service.name, metrics.WEB)


def pre_fork(server: Any, worker: Any) -> None:
    """Give a new worker its slot and its limit for counting connections, and the listeners of the admin ports."""
    worker.claim_slot()
    worker.per_address = _per_address
    worker.admin_listener = server.admin_listener
    worker.operator_listener = server.operator_listener


def worker_exit(server: Any, worker: Any) -> None:
    """Export the last spans of a worker that exits."""
    tracing.stop()


def child_exit(server: Any, worker: Any) -> None:
    """Free the slot of a worker that has exited, and drop its gauges."""
    worker.release_slot()
    metrics.process_died(worker.pid)
