"""Problem details for HTTP APIs (RFC 9457): the body of every error response.

Raise a `Problem` by its name anywhere below a request:

    raise Problem("not-found", "No path begins with two slashes.")

Its status and title are looked up in the catalogue of the application that answers: the kinds that every service has
(`generic_problems`) and those of the service itself. The page /problems/<name> explains a kind to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.http.answers import to_json


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status and title, what the caller can do about it, and why it happens."""

    status: int
    title: str
    cure: str
    cause: str


Catalogue = Mapping[str, Kind]
"""The kinds of problems that an application can answer with, by name."""


@dataclass(slots=True)
class Problem(Exception):
    """An error response.

    `name` is the name of its kind. `detail` tells the caller what was wrong with this request. `errors` has
    `{"pointer": <JSON pointer (RFC 6901)>, "detail": <text>}` for each invalid field. `headers` are added to the
    response.
    """

    name: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A problem as an application/problem+json response."""

    status: int
    title: str
    headers: dict[str, str]
    body: bytes


def render(
    problem: Problem,
    catalogue: Catalogue,
    *,
    instance: str,
    request_id: str | None = None,
    status: int | None = None,
) -> Rendered:
    """Make the response to a problem; `instance` is the path of the request, as a URI reference.

    `request_id` is left out of the body if it is None. `status` replaces the catalogue's where HTTP itself has chosen
    one. Raises KeyError if the catalogue lacks the problem.
    """
    kind = catalogue[problem.name]
    status = status or kind.status
    body = members(problem, kind, instance=instance, request_id=request_id, status=status)
    headers = {"Content-Type": "application/problem+json", **problem.headers}
    return Rendered(status, kind.title, headers, to_json(body))


def members(
    problem: Problem, kind: Kind, *, instance: str, request_id: str | None, status: int | None = None
) -> dict[str, object]:
    """Return the members of a problem's body (RFC 9457, section 3), in the order in which they are written."""
    return {
        "type": f"/problems/{problem.name}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": problem.detail,
        "instance": instance,
        **({"request_id": request_id} if request_id is not None else {}),
        **({"errors": problem.errors} if problem.errors else {}),
    }


def unavailable(detail: str, retry_after: int = 1) -> Problem:
    """Return a temporary failure of this service: 503, with `retry_after` seconds in Retry-After."""
    return Problem("unavailable", detail, headers={"Retry-After": str(retry_after)})


def invalid(pointer: str, detail: str) -> Problem:
    """Return the problem that one field is not valid: 422, with a JSON pointer to it."""
    return Problem("validation", detail, errors=[{"pointer": pointer, "detail": detail}])
