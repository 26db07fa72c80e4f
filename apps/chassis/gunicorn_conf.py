"""How gunicorn serves either service: `gunicorn -c python:chassis.gunicorn_conf "order:create_app()"`."""

from __future__ import annotations

import json
import os
from typing import Any

import uuid_utils
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client import multiprocess

from chassis import admin, metrics
from chassis.problems import from_status

_host = os.environ.get("HOST", "0.0.0.0")
bind = f"{_host}:{os.environ.get('PORT', '8080')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "4"))
worker_class = "chassis.gunicorn_conf.Worker"
preload_app = True  # workers share the memory of what was imported; connections are opened after the fork
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
timeout = 30
graceful_timeout = 25
keepalive = 75  # longer than the idle time-out of common proxies and clients, so that they close first
accesslog = None  # the application writes one line a request
errorlog = "-"
loglevel = "warning"
control_socket_disable = True


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, whose own refusals are problem+json as well."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, and close."""
        status = _status(exc)
        if status == 500:
            self.log.exception("error handling a request")
        problem = from_status(status, None if status == 500 else str(exc)[:200])
        body = json.dumps(problem.body(getattr(req, "path", None) or "", str(uuid_utils.uuid7()), status)).encode()
        head = (
            f"HTTP/1.1 {status} {problem.name}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError as error:
            self.log.debug("could not answer: %s", error)


def _status(exc: BaseException) -> int:
    if isinstance(exc, errors.LimitRequestLine):
        return 414
    if isinstance(exc, errors.LimitRequestHeaders):
        return 431
    if isinstance(exc, errors.UnsupportedTransferCoding):
        return 501
    if isinstance(exc, errors.ExpectationFailed):
        return 417
    return 400 if isinstance(exc, errors.ParseException | OSError) else 500


def on_starting(server: Any) -> None:
    """Open the admin port once, before the workers are forked: they share it. Raises OSError when it is taken."""
    server.admin_listener = admin.listen(_host, int(os.environ.get("ADMIN_PORT", "9090")))


def post_worker_init(worker: Any) -> None:
    """Answer on the admin port from a thread apart from those that serve requests."""
    admin.serve(worker.admin_listener, worker.app.wsgi().extensions["tandem"].admin)


def pre_fork(server: Any, worker: Any) -> None:
    """Hand the listener to the worker."""
    worker.admin_listener = server.admin_listener


def child_exit(server: Any, worker: Any) -> None:
    """Forget the live gauges of a worker that is gone."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(f"{metrics.WEB}.{worker.pid}")  # type: ignore[no-untyped-call]
