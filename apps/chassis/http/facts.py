"""What the decorators of a view record about it, for the checks that apply to every view and for OpenAPI.

Each decorator records what it was given: `Blueprint.arguments`, `Blueprint.response`, `auth.keyring.requires` and
`facts`. A decorator that wraps a view hands the record on, because `functools.wraps` copies a function's attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import marshmallow as ma

from chassis.http.deprecation import Deprecation

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of the body that takes the place of an API key.

    `scheme` names it in OpenAPI, `header` is the header that carries it, `about` says how it is made.
    """

    scheme: str
    header: str
    about: str


STANDARD_WEBHOOKS = Signature(
    "webhookSignature",
    "webhook-signature",
    "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>` under a "
    "shared secret (`whsec_` and base64). If several secrets are in use, there is one for each, separated by spaces. "
    "The receiver refuses events older than five minutes, and processes each id once.",
)


@dataclass(slots=True)
class Facts:
    """What is known about a view.

    `body` and `query` are the schemas of what it reads, `status` and `answer` the status code and schema of its usual
    response, `scope` is the scope that a key needs. The other members are described at the decorator `facts`.
    """

    scope: str | None = None
    body: type[ma.Schema] | None = None
    query: type[ma.Schema] | None = None
    status: int = 200
    answer: type[ma.Schema] | None = None
    problems: tuple[str, ...] = ()
    answers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    waits: bool = False
    signature: Signature | None = None
    tagged: bool = False
    keyed: bool = False
    deprecated: Deprecation | None = None


def facts_of(view: Callable[..., Any] | None) -> Facts | None:
    """Return what the decorators of a view recorded, or None if it has none of them."""
    found: Facts | None = getattr(view, "facts", None)
    return found


def record(view: Callable[..., Any]) -> Facts:
    """Return a view's record, for a decorator to write into; the view gets one if it has none."""
    found = facts_of(view)
    if found is None:
        found = view.facts = Facts()  # type: ignore[attr-defined]
    return found


def facts(
    *problems: str,
    answers: Mapping[int, Mapping[str, Any]] | None = None,
    waits: bool = False,
    body: type[ma.Schema] | None = None,
    signature: Signature | None = None,
    tagged: bool = False,
    keyed: bool = False,
    deprecated: Deprecation | None = None,
) -> Callable[[View], View]:
    """Record what OpenAPI cannot derive from the rest of a view.

    `problems` are the names of the problems that only this view raises. `answers` maps the status code of a response
    to the members of its example that differ; a code other than the one in `Blueprint.response` adds a response.
    `waits`: the view honors `Prefer: wait`. `body`: the schema of a body that the view parses itself. `signature`:
    the signature that the view checks instead of an API key. `tagged`: the response has an ETag although its schema
    has no `version`. `keyed`: the request may have an Idempotency-Key, and needs none.
    `deprecated`: the path will go away.
    """

    def decorate(view: View) -> View:
        known = record(view)
        known.problems, known.answers, known.waits = problems, answers or {}, waits
        known.signature, known.tagged, known.keyed = signature, tagged, keyed
        known.body, known.deprecated = body or known.body, deprecated
        return view

    return decorate
