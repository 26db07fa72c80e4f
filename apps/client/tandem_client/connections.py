"""HTTP for `Client`: the requests session that all threads share, and the API key in every request."""

from __future__ import annotations

import os
import platform
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from requests.auth import AuthBase

from tandem_client.attempt import check_api_key
from tandem_client.reading import LARGEST_BODY, DeadlineAdapter
from tandem_client.steps import FailedAttempt, Received, Request, no_response, untrusted
from tandem_client.version import __version__

AGENT = f"tandem-client/{__version__} python-requests/{requests.__version__} python/{platform.python_version()}"

_CHUNK = 65536
_BAD_RESPONSE = urllib3.exceptions.InvalidHeader  # several values of Content-Length
_NOT_CONNECTED = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class Connections:
    """Owner of the requests.Session: one for all threads of a process.

    Threads can share a requests.Session as long as nobody changes it. This class changes nothing after creation, and
    the session accepts no cookies. A child process does not use the connections that its parent opened before a
    fork: two processes on one connection would read each other's responses. A session passed by the caller is used
    unchanged.
    """

    def __init__(self, api_key: str, session: requests.Session | None = None) -> None:
        """`session` is the caller's own, or None to create one. Raises ValueError if the API key is not valid."""
        self._auth = BearerAuth(api_key)
        self._callers, self._session = session, session
        self._process = os.getpid()
        self._lock = threading.Lock()

    @property
    def session(self) -> requests.Session:
        """The session to use in this process."""
        if self._session is None or (self._callers is None and self._process != os.getpid()):
            with self._lock:
                if self._session is None or self._process != os.getpid():
                    self._session, self._process = _new_session(), os.getpid()
        return self._session

    def send(self, request: Request) -> Received | FailedAttempt:
        """Send a request and read the whole response.

        Raises ValueError if the request cannot be built, for example because the proxy's URL is not valid.
        """
        try:
            response = self.session.request(
                request.method,
                request.url,
                params=request.query,
                data=request.body,
                headers=dict(request.headers),
                auth=self._auth,
                timeout=(request.connect_timeout, request.timeout),
                allow_redirects=False,
                stream=True,
            )
            body = _read_body(response, request.until)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            causes = list(_causes(error))
            if isinstance(error, ValueError) and not any(isinstance(cause, _BAD_RESPONSE) for cause in causes):
                raise
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
                return untrusted(error)
            return no_response(error, never_sent=any(isinstance(cause, _NOT_CONNECTED) for cause in causes))
        return Received(response.status_code, response.reason or "", response.headers, body, _location(response))

    def close(self) -> None:
        """Close the session, unless it is the caller's own. A later call opens new connections."""
        if self._session is not None and self._callers is None:
            self._session.close()


def _new_session() -> requests.Session:
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(pool_maxsize=32))
    return session


class BearerAuth(AuthBase):
    """Sets the Authorization header. Because it is requests' `auth`, a .netrc cannot replace it.

    It also keeps requests from preparing to follow a redirect, for which requests parses the Location and reads the
    whole body without a limit.
    """

    def __init__(self, key: str) -> None:
        """`key` is the API key. Raises ValueError, without quoting it, if it cannot be sent in a header."""
        self._key = check_api_key(key)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header on a request."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        request.hooks["response"].append(_drop_location)
        return request


def _drop_location(response: requests.Response, **_: object) -> None:
    response.headers.pop("Location", None)


def _location(response: requests.Response) -> str | None:
    """Return the header that `_drop_location` took from `response.headers`."""
    headers: Mapping[str, str] = getattr(response.raw, "headers", {})
    return headers.get("Location")


def _read_body(response: requests.Response, until: float) -> bytes:
    """Return the body, or nothing of a body larger than LARGEST_BODY.

    Raises ReadTimeout if a server that sends it slowly exceeds `until`.
    """
    body = bytearray()
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > LARGEST_BODY:
                response.close()
                return b""
            if time.monotonic() > until:
                raise requests.ReadTimeout("the response did not end in time")
    except BaseException:
        response.close()
        raise
    return bytes(body)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that requests and urllib3 wrapped in it."""
    remaining: list[BaseException | None] = [error]
    while remaining:
        cause = remaining.pop()
        if cause is not None:
            yield cause
            wrapped = (*cause.args, getattr(cause, "reason", None))
            remaining += [each for each in wrapped if isinstance(each, BaseException)]
