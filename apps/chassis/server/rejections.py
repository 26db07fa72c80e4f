"""The worker's own responses, to requests that the application does not see: problem+json, as everywhere else."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, unquote

import uuid_utils
from gunicorn.http import errors

from chassis import __version__, cards
from chassis.http.generic_problems import GENERIC
from chassis.http.problems import Problem, render
from chassis.telemetry import logs, metrics

log = logs.get_logger()


def response(path: str, problem: Problem, address: tuple[Any, ...]) -> bytes:
    """Build a whole HTTP response that closes the connection; count and log the request.

    `address` is that of the server's socket. A request that was not parsed has named no host, so the problem's type
    has the address, unless PUBLIC_URL is set.
    """
    request_id = str(uuid_utils.uuid7())
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    base = os.environ.get("PUBLIC_URL", "").strip().rstrip("/") or f"http://{host}:{address[1]}"
    rendered = render(
        problem, GENERIC, base=base, instance=quote(cards.masked_path(unquote(path))), request_id=request_id
    )
    status = rendered.status
    metrics.requests.labels("OTHER", "unread", str(status)).inc()
    log.info("request", method=None, route="unread", status=status, problem=problem.name, request_id=request_id)
    headers = {
        "Connection": "close",
        "X-Request-Id": request_id,
        "Tandem-Version": __version__,
        **rendered.headers,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": len(rendered.body),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {rendered.title}\r\n{head}\r\n".encode() + rendered.body


def incomplete() -> Problem:
    """Return the problem of a request that did not arrive in time."""
    return Problem("request-timeout", "The request was not complete in time.")


def head_too_large(limit: int) -> Problem:
    """Return the problem of a request whose head has more than `limit` bytes."""
    return Problem("headers-too-large", f"The request line and headers have more than {limit} bytes.")


def too_many_connections() -> Problem:
    """Return the problem of a connection that its client address may not open."""
    return Problem("too-many-requests", "There are too many connections from this address. Close or reuse some.")


class HostMissing(errors.ParseException):  # type: ignore[misc]
    """A request of HTTP/1.1 has no Host header (RFC 9112, section 3.2)."""


def check_head(req: Any) -> None:
    """Check the head of a request that gunicorn has parsed: its version, its Host, and that it has one idempotency key.

    A proxy may repeat a field when it sends a request again. WSGI would join the keys with a comma: that is a new key,
    and the work would be done again. So equal keys become one.

    gunicorn accepts HTTP/1.2 to 1.9, and would answer with that version.

    Raises InvalidHTTPVersion, HostMissing, and InvalidHeader for different keys.
    """
    if req.version not in ((1, 0), (1, 1)):
        raise errors.InvalidHTTPVersion(req.version)
    names = [name for name, _ in req.headers]
    if req.version >= (1, 1) and "HOST" not in names:
        raise HostMissing
    if names.count("IDEMPOTENCY-KEY") > 1:
        keys = [field for field in req.headers if field[0] == "IDEMPOTENCY-KEY"]
        if len(set(keys)) > 1:
            raise errors.InvalidHeader("IDEMPOTENCY-KEY", req=req)
        req.headers = [field for field in req.headers if field[0] != "IDEMPOTENCY-KEY"] + keys[:1]


class ChunksMalformed(errors.ParseException):  # type: ignore[misc]
    """A chunked body violates RFC 9112, section 7.1."""


# The details quote nothing of the request: a header that can't be parsed may contain the API key.
_DETAILS: tuple[tuple[type[BaseException], str, str], ...] = (
    (errors.LimitRequestLine, "uri-too-long", "The request line has more than 4094 bytes."),
    (errors.LimitRequestHeaders, "headers-too-large", "There are too many header fields, or one of them is too long."),
    (errors.UnsupportedTransferCoding, "not-implemented", "The only transfer coding that is supported is chunked."),
    (errors.ExpectationFailed, "expectation-failed", "The only expectation that is supported is 100-continue."),
    (errors.ObsoleteFolding, "malformed-request", "A header field continues on a second line."),
    (errors.InvalidHeaderName, "malformed-request", "The name of a header field has characters that are not allowed."),
    (errors.InvalidHeader, "malformed-request", "A header field is malformed, or occurs twice where that is invalid."),
    (errors.InvalidRequestMethod, "malformed-request", "The method is not a valid HTTP method."),
    (errors.InvalidHTTPVersion, "malformed-request", "The HTTP version is not 1.0 or 1.1."),
    (errors.InvalidRequestLine, "malformed-request", "The request line is malformed."),
    (HostMissing, "malformed-request", "A request of HTTP/1.1 must have a Host header."),
    (ChunksMalformed, "malformed-request", "A chunk or a trailer of the body is malformed, or too long."),
    (errors.ParseException, "malformed-request", "The request is malformed."),
    (OSError, "malformed-request", "The request is incomplete."),
)


def problem_of(error: BaseException) -> Problem:
    """Return the problem for an exception of gunicorn's parser or of writing the response."""
    if not isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
        for kind, name, detail in _DETAILS:
            if isinstance(error, kind):
                return Problem(name, detail)
    return Problem("internal-error", "An unexpected error. No change was applied in part.")
