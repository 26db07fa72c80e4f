"""Connections: a session that threads share, and the key that goes with every request."""

from __future__ import annotations

import os
import threading
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter


class Connections:
    """One session for all threads, in each process its own.

    requests.Session is safe to share as long as nobody changes it, and then its pool is worth most: nothing here
    changes it, and it takes no cookies. What a parent process has opened before a fork is left alone: two
    processes on one connection would read each other's answers. A session of the caller's is used as it is.
    """

    def __init__(self, session: requests.Session | None = None) -> None:
        """`session` is the caller's, if there is one."""
        self._given, self._own = session, session
        self._process = os.getpid()
        self._lock = threading.Lock()

    @property
    def session(self) -> requests.Session:
        """The session to use in this process."""
        if self._own is None or (self._given is None and self._process != os.getpid()):
            with self._lock:
                if self._own is None or self._process != os.getpid():
                    self._own, self._process = _new_session(), os.getpid()
        return self._own

    def close(self) -> None:
        """Close what was opened here; a later call opens it anew."""
        if self._own is not None and self._given is None:
            self._own.close()


def _new_session() -> requests.Session:
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=32))
    return session


class Bearer(requests.auth.AuthBase):
    """The Authorization header. As requests' own `auth`, it keeps a .netrc from replacing it."""

    def __init__(self, key: str) -> None:
        """`key` is the API key. Raises ValueError, which does not quote it, for what can't be sent."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("the API key is missing or has characters that no key has")
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the key into a request."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def base(url: str) -> str:
    """The address of a service, without a slash at its end. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"not the address of a service, such as http://localhost:8080: {parts.hostname or url!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no user name and no password: the API key is given by itself")
    return url.rstrip("/")
