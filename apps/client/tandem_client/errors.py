"""What can go wrong, as a tree.

::

    TandemError                  everything below
    ├── ApiError                 the service has answered, and said no
    │   ├── BadRequest           400  the request could not be read
    │   ├── Unauthorized         401  the API key is missing or not known
    │   ├── Forbidden            403  the key may not do this
    │   ├── NotFound             404  no such thing, or it is another merchant's
    │   ├── Conflict             409  not in this state: look at the resource
    │   ├── PreconditionFailed   412  it has changed since you read it (`if_match`)
    │   ├── Invalid              422  `error.problem.errors` points to the fields
    │   ├── RateLimited          429  still, when the deadline had passed
    │   └── ServerError          500  a fault of the service, done wholly or not at all: repeat with the same key
    ├── OutcomeUnknown           no answer within the deadline: it may have been done, or may yet be
    ├── Unavailable              no answer within the deadline, and this call has done nothing
    ├── UnexpectedAnswer         an answer that is not Tandem's, or of a Tandem that this client does not know
    └── InvalidSignature         a webhook that nobody with one of the secrets has signed, or not just now

Never take `OutcomeUnknown` for a failure: make the same call again, with `idempotency_key=error.idempotency_key`.
No message and no attribute of these holds the API key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: `pointer` is a JSON pointer into the request's body (RFC 6901)."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a service said no (RFC 9457, problem details). `about` is the address of a page that says what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    about: str | None = None

    @property
    def name(self) -> str:
        """The last part of the type, such as `order-not-found`."""
        return self.type.rpartition("/")[2]


class TandemError(Exception):
    """The base of all errors of this client.

    `idempotency_key` is the key that the call had, if it was one that changes something: make the call again with
    it and it continues the same intention. `request_id` finds the call in the logs of the services.
    """

    def __init__(self, message: str, *, idempotency_key: str | None = None, request_id: str | None = None) -> None:
        """`message` says what happened and what to do."""
        super().__init__(message)
        self.idempotency_key = idempotency_key
        self.request_id = request_id

    def __reduce__(self) -> tuple[Callable[..., TandemError], tuple[Any, ...]]:
        # Errors cross processes (task queues, pools); Exception's own way knows no keyword arguments.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[TandemError], args: tuple[Any, ...], members: Mapping[str, Any]) -> TandemError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


class ApiError(TandemError):
    """The service has answered, and said no; `problem` says why. Itself, where none of those below has the status."""

    advice: ClassVar[str] = ""

    def __init__(self, problem: Problem, *, idempotency_key: str | None = None) -> None:
        """The message is made of the problem."""
        super().__init__(_explain(problem, self.advice), idempotency_key=idempotency_key, request_id=problem.request_id)
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status


class BadRequest(ApiError):
    """400: the request could not be read."""


class Unauthorized(ApiError):
    """401: the API key is missing, not known or no longer valid."""

    advice = "Give the client a key that this service knows (api_key, or API_KEY in the environment)."


class Forbidden(ApiError):
    """403: the key is known and may not do this."""

    advice = "Use a key that has the scope."


class NotFound(ApiError):
    """404: there is no such thing, or it belongs to another merchant."""

    advice = "Check the id, and that the key belongs to its merchant."


class Conflict(ApiError):
    """409: the resource does not allow this in the state that it is in."""

    advice = "Look at it as it stands now, and decide anew."


class PreconditionFailed(ApiError):
    """412: the resource is no longer in the version that `if_match` named."""

    advice = "Read it again, and decide anew."


class Invalid(ApiError):
    """422: the request is not valid; `problem.errors` points to the fields."""


class RateLimited(ApiError):
    """429: too many requests, all through the deadline; this call did nothing. `retry_after` is in seconds."""

    advice = "Slow down, and make the call again later."
    retry_after: float | None = None


class ServerError(ApiError):
    """500: a fault of the service. What was asked for is done wholly or not at all, and this does not say which."""

    advice = "Make the same call again, with the same idempotency key if it has one."


class OutcomeUnknown(TandemError):
    """The deadline has passed and no answer has come: it may have been done, or may yet be done.

    This is not a failure. Make the same call again with `idempotency_key=error.idempotency_key`, now or in an
    hour: nothing is done twice, and its answer says what came of it. `attempts` counts the requests that were made.
    """

    def __init__(self, message: str, *, attempts: int, idempotency_key: str, request_id: str | None = None) -> None:
        """`message` says what was seen last."""
        super().__init__(message, idempotency_key=idempotency_key, request_id=request_id)
        self.attempts = attempts


class Unavailable(TandemError):
    """The service could not be reached within the deadline.

    It was only asked to show something, or no request of this call has left for it: either way this call did nothing.
    """


class UnexpectedAnswer(TandemError):
    """An answer that is not Tandem's (a proxy, another server), or that lacks what this client needs.

    `body` is what was answered, `status` its HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: object = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """`message` says what is odd about it."""
        super().__init__(message, idempotency_key=idempotency_key, request_id=request_id)
        self.status, self.body = status, body


class InvalidSignature(TandemError):
    """A webhook that was not signed with one of the secrets, not for these bytes, or not within five minutes."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: Invalid,
    429: RateLimited,
}


def of(problem: Problem, *, idempotency_key: str | None = None, retry_after: float | None = None) -> ApiError:
    """The error that a problem is, by its status."""
    kind = _BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else ApiError)
    error = kind(problem, idempotency_key=idempotency_key)
    if isinstance(error, RateLimited):
        error.retry_after = retry_after
    return error


def _explain(problem: Problem, advice: str) -> str:
    said = f"{problem.status} {problem.name or problem.title}: {problem.detail or problem.title}"
    wrong = "; ".join(f"{error.pointer or '/'}: {error.detail}" for error in problem.errors)
    request = f"(request {problem.request_id})" if problem.request_id else ""
    about = f"See {problem.about}" if problem.about else ""
    return " ".join(part for part in (said, wrong, advice, about, request) if part)
