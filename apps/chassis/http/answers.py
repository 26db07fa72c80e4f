"""Flask, with what every request passes made shorter; views and hooks find nothing changed.

Each override is documented by Flask or Werkzeug as a place to change what they do. They leave out what our requests
and answers never need: asynchronous views, sessions, exceptions for headers that are not there, and searches of our
own headers for what is not in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from flask import Flask, Response, request
from flask import Request as FlaskRequest
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import EnvironHeaders, Headers
from werkzeug.routing import MapAdapter
from werkzeug.wsgi import get_host


class _Headers(EnvironHeaders):
    """A request's headers, among which to miss one costs no exception."""

    def get(self, key: str, default: Any = None, type: Callable[[str], Any] | None = None) -> Any:  # type: ignore[override]
        """The header's value, or the default."""
        if type is not None:
            return super().get(key, default, type)
        return self.environ.get(_variable(key), default)

    def __contains__(self, key: object) -> bool:
        return _variable(str(key)) in self.environ


@cache
def _variable(header: str) -> str:
    """The name of a header in the environment of WSGI (PEP 3333)."""
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


class Request(FlaskRequest):
    """Flask's request, whose headers are quicker to ask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Flask's arguments."""
        super().__init__(*args, **kwargs)
        self.headers = _Headers(self.environ)


class _NoSessions(SessionInterface):
    """Nothing is kept for a client between its requests: whoever wants to use a session finds none."""

    _none = NullSession()

    def open_session(self, app: Flask, request: FlaskRequest) -> NullSession:
        """The same for all: it cannot be written to."""
        return self._none


class Application(Flask):
    """A service's application."""

    request_class = Request
    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: none of ours is asynchronous."""
        return func

    def create_url_adapter(self, request: FlaskRequest | None) -> MapAdapter | None:
        """What finds the view of a request, for whatever host it is; Flask's own asks for the host twice.

        Raises werkzeug.exceptions.SecurityError for a Host that is none.
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
        """204 and which methods there are; it is the same for everybody, so it needs no key."""
        response = super().make_default_options_response()
        response.status_code = 204
        del response.headers["Content-Type"]
        return response


class Listed(Headers):
    """Headers that are all there from the beginning, as the list that they are; ours need no second look."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        """Take the list as it is."""
        self._list = pairs

    def extend(self, pairs: Iterable[tuple[str, str]]) -> None:  # type: ignore[override]
        """Add more of them."""
        self._list += pairs


class Answer(Response):
    """A response whose headers are all given, and never hold what Werkzeug looks for: a Location that is no ASCII."""

    automatically_set_content_length = False

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer as it is, if there is a body to send: nothing has to be worked out, or closed in the end."""
        if self.status_code >= 204 or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.iter_encoded()


def answer(
    body: str | bytes,
    status: int = 200,
    *,
    version: int | None = None,
    tagged: bool = False,
    headers: dict[str, str] | None = None,
) -> Response:
    """A JSON answer from text that is already JSON; `version` becomes its ETag, or a hash of the text does.

    `tagged` asks for the hash where it is not the answer to a GET, which always has an ETag.
    """
    data = body.encode() if isinstance(body, str) else body
    listed = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    if version is not None:
        listed.append(("ETag", f'"{version}"'))
    if headers:
        listed += headers.items()
    response = Answer([data], status, Listed(listed))
    environ = request.environ
    shows = environ["REQUEST_METHOD"] in ("GET", "HEAD")
    if version is None and (tagged or shows):
        response.add_etag()
    if shows and "HTTP_IF_NONE_MATCH" in environ:
        response.make_conditional(environ)
    return response
