"""The admin port: /metrics, /livez, /readyz and a service's own pages, with their own listener and threads.

Probes are answered however busy the threads of the main port are, so Kubernetes does not restart a busy pod. These
three paths need no key: do not expose the port outside of the cluster.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from chassis.http.answers import to_json
from chassis.http.generic_problems import GENERIC
from chassis.http.problems import Problem, render
from chassis.postgres.database import Database
from chassis.server.health import Health
from chassis.telemetry import metrics

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _RequestHandler(WSGIRequestHandler):
    timeout = 10  # seconds that a client may send nothing

    def version_string(self) -> str:
        """Return the value of the Server header, without versions: they tell an attacker what to try."""
        return "tandem"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: probes and scrapes arrive every few seconds."""


def application(
    url: str, health: Health, gauges: metrics.DatabaseGauges, pages: Mapping[str, Application]
) -> Application:
    """Return the WSGI application of the admin port.

    `url` is the service's database. `pages` maps the first segment of a path, such as "/admin", to the WSGI application
    that handles it and all paths below it.
    """
    database = Database(url, "admin", statement_timeout=3.0)
    gauges.use(database)

    def respond(request: Request) -> Response:
        path = request.path
        if path == "/metrics":
            text, content_type = metrics.render(gauges, request.headers.get("Accept", ""))
            return Response(text, content_type=content_type)
        if path in ("/livez", "/readyz"):
            status, body = health.live() if path == "/livez" else health.ready(database)
            return Response(to_json(body), status, mimetype="application/json")
        missing = render(Problem("not-found", "The admin port has no such path."), GENERIC, instance=quote(path))
        return Response(missing.body, missing.status, missing.headers)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        page = pages.get("/" + environ["PATH_INFO"].removeprefix("/").partition("/")[0])
        if page is not None:
            return page(environ, start_response)
        try:
            return respond(Request(environ))(environ, start_response)
        finally:
            database.close()  # this thread ends with the request

    return app


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises OSError if the port is in use."""
    return socket.create_server((host, port), backlog=64)


def serve(listener: socket.socket, app: Application) -> None:
    """Serve `app` from a thread of this process. Several processes may share the listener."""
    host, port = listener.getsockname()[:2]
    server = make_server(host, port, app, threaded=True, request_handler=_RequestHandler, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
