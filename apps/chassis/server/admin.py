"""The admin port: /metrics, /livez, /readyz and a service's own pages, with their own listener and threads.

Probes are answered however busy the threads of the main port are, so Kubernetes does not restart a busy pod. These
three paths need no key: do not expose the port outside of the cluster.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from chassis import cards, urls
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

_READS = ("GET", "HEAD")

MAX_CONNECTIONS_PER_ADDRESS = 16
"""Connections of one client address that one process serves at the same time, each in a thread.

One more closes the oldest one on which no request has arrived yet: clients that send nothing, or slowly, keep neither a
probe nor others behind the same address out. If requests have arrived on all of them, the new one gets 429.
"""


class _RequestHandler(WSGIRequestHandler):
    timeout = 10  # seconds that a client may send nothing

    def parse_request(self) -> bool:
        """Parse the head of a request. Returns False if it is malformed; then the response has been sent."""
        if not super().parse_request():
            return False
        hosts = self.headers.get_all("Host", [])
        missing = self.request_version >= "HTTP/1.1" and not hosts
        are_names = all(urls.is_name(host.partition(":")[0]) for host in hosts)  # werkzeug can read no other
        good = not missing and len(hosts) < 2 and are_names and _is_target(self.path)
        if self.request_version == "HTTP/0.9" or not good:
            self.send_error(400)
            return False
        return not isinstance(self.server, _Server) or self.server.is_admitted(self.connection, self.client_address)

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
        # For each address its connections, the oldest first, and whether a request has arrived.
        self._open: dict[str, dict[Any, bool]] = {}

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. Returns its socket and the client's address."""
        request, address = super().get_request()
        return request, listeners.plain(address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a new thread, or refuse it."""
        refused = self._add(request, client_network(client_address[0]))
        if refused is not None:
            with suppress(OSError):  # the client is gone
                rejection = rejections.response("", rejections.too_many_connections(), refused.getsockname())
                refused.send(rejection, socket.MSG_DONTWAIT)
                refused.shutdown(socket.SHUT_RDWR)  # which ends its thread
        if refused is request:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._remove(request, client_address)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._remove(request, client_address)

    def is_admitted(self, request: Any, client_address: Any) -> bool:
        """Note that a request has arrived. Returns False if its connection had to give way to another one."""
        with self._lock:
            connections = self._open.get(client_network(client_address[0]), {})
            if request not in connections:
                return False
            connections[request] = True
            return True

    def _add(self, request: Any, address: str) -> Any:
        """Add a connection. Returns the one that has to give way, which may be this one, or None."""
        with self._lock:
            connections = self._open.setdefault(address, {})
            connections[request] = False
            if len(connections) <= MAX_CONNECTIONS_PER_ADDRESS:
                return None
            oldest = next(each for each, has_arrived in connections.items() if not has_arrived)
            del connections[oldest]
            return oldest

    def _remove(self, request: Any, client_address: Any) -> None:
        address = client_network(client_address[0])
        with self._lock:
            connections = self._open.get(address, {})
            connections.pop(request, None)
            if not connections:
                self._open.pop(address, None)


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
        if path not in ("/", "/metrics", "/livez", "/readyz"):
            return _missing(request.environ)
        if request.method not in _READS:
            return _only_read(request)
        if path == "/metrics":
            text, content_type = metrics.render(gauges, request.headers.get("Accept", ""))
            return Response(text, content_type=content_type)
        if path in ("/livez", "/readyz"):
            status, body = health.live() if path == "/livez" else health.ready(database)
            return Response(to_json(body), status, mimetype="application/json")
        return _greeting(name, pages, greeting.PROBE_LINKS, request)

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
            request = Request(environ)
            found = _greeting(name, pages, {}, request) if request.method in _READS else _only_read(request)
            return found(environ, start_response)
        return (page or _missing(environ))(environ, start_response)

    return app


def _greeting(name: str, pages: Mapping[str, Application], probes: Mapping[str, str], request: Request) -> Response:
    links = {**dict.fromkeys(pages, "A page for operators"), **probes}
    about = "This port is for operators and probes. Do not expose it."
    return greeting.response(f"Tandem {name}, admin port", about, links, request.accept_mimetypes)


def _only_read(request: Request) -> Response:
    """Return the response to another method than GET and HEAD."""
    allow = {"Allow": ", ".join((*_READS, "OPTIONS"))}
    if request.method == "OPTIONS":
        return Response(status=204, headers=allow)
    return _refusal(request.environ, Problem("method-not-allowed", "This path can only be read.", headers=allow))


def _missing(environ: dict[str, Any]) -> Response:
    return _refusal(environ, Problem("not-found", "This port has no such path."))


def _refusal(environ: dict[str, Any], problem: Problem) -> Response:
    path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
    refused = render(problem, GENERIC, base=base_url(environ), instance=quote(cards.masked_path(path)))
    return Response(refused.body, refused.status, refused.headers)


def serve(listener: socket.socket, app: Application) -> None:
    """Serve `app` from a thread of this process. Several processes may share the listener."""
    host, port = listener.getsockname()[:2]
    server = _Server(host, port, app, _RequestHandler, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
