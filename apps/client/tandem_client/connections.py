"""The HTTP session that all threads share, and the API key in every request."""

from __future__ import annotations

import os
import threading
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter


class Connections:
    """Owner of the requests.Session: one for all threads of a process.

    Threads can share a requests.Session as long as nobody changes it. This class changes nothing after creation, and
    the session accepts no cookies. A child process does not use the connections that its parent opened before a
    fork: two processes on one connection would read each other's responses. A session passed by the caller is used
    unchanged.
    """

    def __init__(self, session: requests.Session | None = None) -> None:
        """`session` is the caller's own, or None to create one."""
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

    def close(self) -> None:
        """Close the session, unless it is the caller's own. A later call opens new connections."""
        if self._session is not None and self._callers is None:
            self._session.close()


def _new_session() -> requests.Session:
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=32))
    return session


class BearerAuth(requests.auth.AuthBase):
    """Sets the Authorization header. Because it is requests' `auth`, a .netrc cannot replace it."""

    def __init__(self, key: str) -> None:
        """`key` is the API key. Raises ValueError, without quoting it, if it cannot be sent in a header."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("the API key is empty or has characters that no API key has")
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header on a request."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def check_url(url: str) -> str:
    """Return the base URL of a service without a trailing slash. Raises ValueError if it is not valid."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"not the URL of a service, such as http://localhost:8080: {parts.hostname or url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a service URL must not contain a user name or password: pass the API key as api_key")
    return url.rstrip("/")
