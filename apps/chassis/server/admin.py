"""The admin port: /metrics, /livez, /readyz and a service's own pages, with their own listener and threads.

Probes are answered however busy the threads of the main port are, so Kubernetes does not restart a busy pod. These
three paths need no key: do not expose the port outside of the cluster.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from chassis.http import greeting
from chassis.http.addresses import client_network
from chassis.http.answers import to_json
from chassis.http.generic_problems import GENERIC
from chassis.http.problems import Problem, base_url, render
from chassis.postgres.database import Database
from chassis.server import listeners, rejections
from chassis.server.health import Health
from chassis.telemetry import metrics

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


MAX_CONNECTIONS_PER_ADDRESS = 16
"""Connections of one client address that one process serves at the same time, each in a thread. More get 429."""


class _RequestHandler(WSGIRequestHandler):
    timeout = 10  # seconds that a client may send nothing

    def parse_request(self) -> bool:
        """Parse the head of a request. Returns False if it is malformed; then the response has been sent."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host", [])
        missing = self.request_version >= "HTTP/1.1" and not hosts
        good = not missing and len(hosts) < 2 and all(map(_is_host, hosts)) and _is_target(self.path)
        if self.request_version == "HTTP/0.9" or not good:
            self.send_error(400)
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Respond to a request that could not be parsed; nothing of it is quoted."""
        status, text = HTTPStatus(code), "The request is malformed."
        name = {414: "uri-too-long", 431: "headers-too-large"}.get(status, "malformed-request")
        self.wfile.write(rejections.response("", Problem(name, text), self.connection.getsockname()))
        self.close_connection = True

    def send_header(self, keyword: str, value: str) -> None:
        """Add a header to the response, but no Server header: it helps nobody but an attacker."""
        if keyword.lower() != "server":
            super().send_header(keyword, value)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: probes and scrapes arrive every few seconds."""


def _is_host(text: str) -> bool:
    """Return whether werkzeug can read a Host header: each part of the name has 1 to 63 characters."""
    try:
        text.partition(":")[0].encode("idna")
    except UnicodeError:
        return False
    return True


def _is_target(text: str) -> bool:
    """Return whether the server can read the target of a request: a path, or a URL (RFC 9112, section 3.2)."""
    try:
        urlsplit(text)
    except ValueError:  # such as http://[::1
        return False
    return text.startswith(("/", "http://", "https://"))


class _Server(ThreadedWSGIServer):
    """Werkzeug's server, with a limit on the connections, and so the threads, of each client address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. Returns its socket and the client's address."""
        request, address = super().get_request()
        return request, listeners.plain(address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a new thread, or refuse it."""
        address = client_network(client_address[0])
        with self._lock:
            refused = self._open[address] >= MAX_CONNECTIONS_PER_ADDRESS
            self._open[address] += not refused
        if refused:
            with suppress(OSError):  # the client is gone
                request.setblocking(False)
                request.send(rejections.response("", rejections.too_many_connections(), request.getsockname()))
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._close(address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._close(client_network(client_address[0]))

    def _close(self, address: str) -> None:
        with self._lock:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


def application(
    name: str, url: str, health: Health, gauges: metrics.DatabaseGauges, pages: Mapping[str, Application]
) -> Application:
    """Return the WSGI application of the admin port.

    `name` is that of the service, `url` its database. `pages` are as in `pages_application`.
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
        if path == "/":
            return _greeting(name, pages, greeting.PROBE_LINKS, request)
        return _missing(request.environ)

    def probes(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            return respond(Request(environ))(environ, start_response)
        finally:
            database.close()  # this thread ends with the request

    return pages_application(name, pages, probes)


def pages_application(name: str, pages: Mapping[str, Application], other: Application | None = None) -> Application:
    """Return the WSGI application for a service's own pages.

    `pages` maps the first segment of a path, such as "/admin", to the WSGI application that handles it and all paths
    below it. `other` handles the other paths; without it they are 404, except `/`, which has links to the pages of the
    service `name`.
    """

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        page = pages.get("/" + environ["PATH_INFO"].removeprefix("/").partition("/")[0], other)
        if page is None and environ["PATH_INFO"] == "/":
            return _greeting(name, pages, {}, Request(environ))(environ, start_response)
        return (page or _missing(environ))(environ, start_response)

    return app


def _greeting(name: str, pages: Mapping[str, Application], probes: Mapping[str, str], request: Request) -> Response:
    links = {**dict.fromkeys(pages, "A page for operators"), **probes}
    about = "This port is for operators and probes. Do not expose it."
    return greeting.response(f"Tandem {name}, admin port", about, links, request.accept_mimetypes)


def _missing(environ: dict[str, Any]) -> Response:
    problem = Problem("not-found", "This port has no such path.")
    missing = render(problem, GENERIC, base=base_url(environ), instance=quote(environ["PATH_INFO"].encode("latin-1")))
    return Response(missing.body, missing.status, missing.headers)


def serve(listener: socket.socket, app: Application) -> None:
    """Serve `app` from a thread of this process. Several processes may share the listener."""
    host, port = listener.getsockname()[:2]
    server = _Server(host, port, app, _RequestHandler, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
