"""A Flask application with less work for each request. Views and hooks see no difference.

Every override is of a method or attribute that Flask or Werkzeug documents for that purpose. They leave out what the
services never use: asynchronous views, sessions, and an exception for each missing header.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Flask, Response
from flask import Request as FlaskRequest
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import EnvironHeaders
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host


class _Headers(EnvironHeaders):
    """A request's headers. Looking up a missing one raises no exception internally, which would be slow."""

    def get(self, key: str, default: Any = None, type: Callable[[str], Any] | None = None) -> Any:  # type: ignore[override]
        """Return the header's value, or the default."""
        if type is not None:
            return super().get(key, default, type)
        return self.environ.get(_variable(key), default)

    def __contains__(self, key: object) -> bool:
        return _variable(str(key)) in self.environ


@cache
def _variable(header: str) -> str:
    """Return the name of a header in the WSGI environment (PEP 3333)."""
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


class Request(FlaskRequest):
    """Flask's request with a faster lookup of headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers = _Headers(self.environ)


class _NoSessions(SessionInterface):
    """Sessions that cannot be used: writing to one raises RuntimeError."""

    _none = NullSession()

    def open_session(self, app: Flask, request: FlaskRequest) -> NullSession:
        """Return the same empty session for every request."""
        return self._none


class Application(Flask):
    """The Flask application of a service."""

    request_class = Request
    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function itself: none of the views is asynchronous."""
        return func

    def create_url_adapter(self, request: FlaskRequest | None) -> MapAdapter | None:
        """Return what finds the view of a request, whatever its host; Flask's own method computes the host twice.

        Raises werkzeug.exceptions.SecurityError for an invalid Host header.
        """
        if request is None:
            return None
        request.host = get_host(request.environ)
        return self.url_map.bind(
            request.host,
            request.root_path,
            None,
            request.scheme,
            request.method,
            request.path,
            request.environ.get("QUERY_STRING"),
        )

    def make_default_options_response(self) -> Response:
        """Answer OPTIONS with 204 and the allowed methods. They are the same for everybody, so no key is needed."""
        response = super().make_default_options_response()
        response.status_code = 204
        del response.headers["Content-Type"]
        return response
