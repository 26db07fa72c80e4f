"""Problem details for HTTP APIs (RFC 9457): the body of every error response.

Raise a `Problem` by its name anywhere below a request:

    raise Problem("not-found", "No path begins with two slashes.")

Its `type` is the address of the page /problems/<name>, which explains the kind to people. Its status and title are
looked up in the catalogue of the application that answers: the kinds that every service has
(`generic_problems`) and those of the service itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chassis.cards import MAX_PATH
from chassis.http.answers import to_json


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status and title, what the caller can do about it, and why it happens."""

    status: int
    title: str
    cure: str
    cause: str


MAX_ERRORS = 50
"""The most errors of a problem; `more_errors` says how many there are beyond them."""
MAX_BYTES = 64 * 1024
"""The most bytes of a problem's body: it has fewer errors if their texts are long."""
_MAX_TEXT = 500  # characters of a detail or a pointer
_MAX_INSTANCE = 12 * MAX_PATH  # characters of the quoted path as a URI reference: %F0%9F%92%B3 is one character

_HOST = re.compile(r"(?:[A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

Catalogue = Mapping[str, Kind]
"""The kinds of problems that an application can answer with, by name."""


@dataclass(slots=True)
class Problem(Exception):
    """An error response.

    `name` is the name of its kind. `detail` tells the caller what was wrong with this request. `errors` has
    `{"pointer": <JSON pointer (RFC 6901)>, "detail": <text>}` for each invalid field, and `more_errors` is
    how many more there are. `headers` are added to the response. `extensions` are further members of the body, for
    programs (RFC 9457, section 3.2).
    """

    name: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    more_errors: int = 0
    extensions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A problem as an application/problem+json response."""

    status: int
    title: str
    headers: dict[str, str]
    body: bytes


def base_url(environ: Mapping[str, Any]) -> str:
    """Return the URL of the service as the client of a request (PEP 3333) wrote it, without a slash at its end.

    A Host header that is not valid is not used: the address of the server stands for it.
    """
    host = environ.get("HTTP_HOST", "")
    if not _HOST.fullmatch(host):
        host = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return f"{environ['wsgi.url_scheme']}://{host}"


def render(
    problem: Problem,
    catalogue: Catalogue,
    *,
    instance: str,
    base: str,
    request_id: str | None = None,
    status: int | None = None,
) -> Rendered:
    """Make the response to a problem; `instance` is the path of the request, as a URI reference.

    `base` is the URL of the service, which `type` begins with, without a slash at its end.
    `request_id` is left out of the body if it is None. `status` replaces the catalogue's where HTTP itself has chosen
    one. Raises KeyError if the catalogue lacks the problem.
    """
    kind = catalogue[problem.name]
    status = status or kind.status
    body = members(problem, kind, base=base, instance=instance, request_id=request_id, status=status)
    headers = {"Content-Type": "application/problem+json", **problem.headers}
    data = to_json(body)
    while len(data) > MAX_BYTES and problem.errors:
        kept = problem.errors[: min(len(problem.errors), MAX_ERRORS) // 2]
        more = problem.more_errors + len(problem.errors) - len(kept)
        problem = replace(problem, errors=kept, more_errors=more)
        data = to_json(members(problem, kind, base=base, instance=instance, request_id=request_id, status=status))
    return Rendered(status, kind.title, headers, data)


def members(
    problem: Problem, kind: Kind, *, base: str, instance: str, request_id: str | None, status: int | None = None
) -> dict[str, object]:
    """Return the members of a problem's body (RFC 9457, section 3), in the order in which they are written.

    Long texts and lists of errors are cut.
    """
    errors = [{name: _cut(text, _MAX_TEXT) for name, text in each.items()} for each in problem.errors[:MAX_ERRORS]]
    more = problem.more_errors + len(problem.errors) - len(errors)
    return {
        "type": f"{base}/problems/{problem.name}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": _cut(problem.detail, _MAX_TEXT),
        "instance": _cut(instance, _MAX_INSTANCE),
        **({"request_id": request_id} if request_id is not None else {}),
        **({"errors": errors} if errors else {}),
        **({"more_errors": more} if more else {}),
        **problem.extensions,
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "..."


def unavailable(detail: str, retry_after: int = 1) -> Problem:
    """Return a temporary failure of this service: 503, with `retry_after` seconds in Retry-After."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after)})


def invalid(pointer: str, detail: str) -> Problem:
    """Return the problem that one field is not valid: 422, with a JSON pointer to it."""
    return Problem("validation", detail, errors=[{"pointer": pointer, "detail": detail}])
