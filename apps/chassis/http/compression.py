"""Compressing responses for clients that ask for it (RFC 9110, section 12.5.3).

A compressed response is another representation, so its strong ETag differs: `"4"` becomes `"4-gzip"`. Both name the
same version: conditions accept either.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

from flask import Request, Response

SMALLEST = 1024
"""The smallest body in bytes that is compressed."""

_SUFFIX = '-gzip"'
_LEVEL = 5
_TYPES = ("application/json", "application/problem+json", "text/html", "text/css", "text/javascript")


def plain_tags(header: str) -> str:
    """Return a list of ETags with those of compressed responses as those of the same responses without compression."""
    return header.replace(_SUFFIX, '"')


def make_conditional(response: Response, environ: Mapping[str, Any]) -> None:
    """Answer 304 if the If-None-Match of the request (PEP 3333) names the response's ETag, compressed or not.

    If-Match is for changes. On a GET it is ignored: Werkzeug would answer 412 with the whole body.
    """
    tags = plain_tags(environ.get("HTTP_IF_NONE_MATCH", ""))
    response.make_conditional({**environ, "HTTP_IF_NONE_MATCH": tags, "HTTP_IF_MATCH": ""})


def compress(request: Request, response: Response) -> None:
    """Compress a response if its client accepts that and it is large enough.

    The client has sent Accept-Encoding. A stream and the answer to a condition (304) have no body to compress; a 304
    has the ETag of the compressed response if the client named that one.
    """
    if response.status_code == 304:
        named = request.headers.get("If-None-Match", "")
        tag = response.headers.get("ETag", "")
        if tag.endswith('"') and f"{tag[:-1]}{_SUFFIX}" in named:
            response.headers["ETag"] = f"{tag[:-1]}{_SUFFIX}"
        return
    if response.direct_passthrough or response.is_streamed or response.mimetype not in _TYPES:
        return
    data = response.get_data()
    if len(data) < SMALLEST or "Content-Encoding" in response.headers or not _accepts(request):
        return
    _set_packed(response, _pack(data))


class Document:
    """A public document that does not change while the process runs. It is compressed once, not for each request."""

    def __init__(self, data: bytes, media_type: str, max_age: int) -> None:
        """`max_age` is for how many seconds a cache may keep the document without asking whether it is current."""
        self._data, self._media_type, self._max_age = data, media_type, max_age
        self._tag = hashlib.sha256(data).hexdigest()[:32]
        self._packed = _pack(data)

    def response(self, request: Request) -> Response:
        """Return the document, compressed if the client accepts that, or 304 if it has the current one."""
        response = Response(self._data, mimetype=self._media_type)
        response.cache_control.public = True
        response.cache_control.max_age = self._max_age
        response.set_etag(self._tag)
        make_conditional(response, request.environ)
        if response.status_code == 200 and len(self._data) >= SMALLEST and _accepts(request):
            _set_packed(response, self._packed)
        return response


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, _LEVEL, mtime=0)


def _set_packed(response: Response, packed: bytes) -> None:
    response.set_data(packed)
    response.headers["Content-Length"] = str(len(packed))
    response.headers["Content-Encoding"] = "gzip"
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        response.headers["ETag"] = f"{tag[:-1]}{_SUFFIX}"


def _accepts(request: Request) -> bool:
    """Return whether the client prefers gzip to an uncompressed response."""
    accepted = request.accept_encodings
    identity = max((quality for name, quality in accepted if name == "identity"), default=0.0)
    return bool(accepted.quality("gzip") > 0 and accepted.quality("gzip") >= identity)
