"""The exceptions of this client.

::

    TandemError                  base of all exceptions below
    ├── ApiError                 the service refused the request
    │   ├── BadRequest           400  the request is malformed
    │   ├── Unauthorized         401  the API key is missing or unknown
    │   ├── Forbidden            403  the API key may not do this
    │   ├── NotFound             404  the resource does not exist, or belongs to another merchant
    │   ├── Conflict             409  the resource's state does not allow this
    │   ├── PreconditionFailed   412  the resource has changed since you read it (`if_match`)
    │   ├── Invalid              422  the request is not valid: see `error.problem.errors`
    │   ├── RateLimited          429  still too many requests when the deadline passed
    │   └── ServerError          500  a fault of the service: retry with the same idempotency key
    ├── OutcomeUnknown           no final response before the deadline: the call may have been carried out
    ├── Unavailable              no final response before the deadline, and nothing was carried out that must not be
    │                            repeated
    ├── StatusNotReached         `wait_until`: the order does not have the status
    ├── UnexpectedAnswer         a response that is not Tandem's, or from a version that this client does not support
    └── InvalidSignature         a webhook that none of the secrets signed within five minutes

`OutcomeUnknown` is not a failure: make the same call again with `idempotency_key=error.idempotency_key`.
No message and no attribute contains the API key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tandem_client.model import Order


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field. `pointer` is a JSON pointer into the request body (RFC 6901)."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a service refused a request (RFC 9457, problem details). `about` is the URL of a page with advice.

    `extensions` has the members that only some kinds of problems have, such as `order_id` of `reference-taken`.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    about: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The last segment of `type`, such as `order-not-found`."""
        return self.type.rpartition("/")[2]


class TandemError(Exception):
    """Base of all exceptions of this client.

    `idempotency_key` is the call's key, or None if it had none. A call with the same key continues the earlier one.
    `request_id` identifies the call in the services' logs.
    """

    def __init__(self, message: str, *, idempotency_key: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key
        self.request_id = request_id

    def __reduce__(self) -> tuple[Callable[..., TandemError], tuple[Any, ...]]:
        # Exceptions are pickled by process pools and task queues; Exception.__reduce__ drops keyword arguments.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[TandemError], args: tuple[Any, ...], members: Mapping[str, Any]) -> TandemError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


class ApiError(TandemError):
    """The service refused the request; `problem` says why. Statuses without a subclass raise ApiError itself."""

    advice: ClassVar[str] = ""

    def __init__(self, problem: Problem, *, idempotency_key: str | None = None) -> None:
        super().__init__(_message(problem, self.advice), idempotency_key=idempotency_key, request_id=problem.request_id)
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status


class BadRequest(ApiError):
    """400: the request is malformed."""


class Unauthorized(ApiError):
    """401: the API key is missing, unknown or no longer valid."""

    advice = "Use an API key of this service (api_key, or API_KEY in the environment)."


class Forbidden(ApiError):
    """403: the API key is valid, but may not do this."""

    advice = "Use an API key that has the scope."


class NotFound(ApiError):
    """404: the resource does not exist, or belongs to another merchant."""

    advice = "Check the id, and that the API key belongs to the same merchant."


class Conflict(ApiError):
    """409: the resource's current state does not allow this."""

    advice = "Read the resource, then decide whether to retry."


class PreconditionFailed(ApiError):
    """412: the resource no longer has the version given as `if_match`."""

    advice = "Read the resource again, then decide whether to retry."


class Invalid(ApiError):
    """422: the request is not valid. `problem.errors` names the fields."""


class RateLimited(ApiError):
    """429: too many requests until the deadline. This call changed nothing. `retry_after` is in seconds."""

    advice = "Send fewer requests, and make the call again later."
    retry_after: float | None = None


class ServerError(ApiError):
    """500: a fault of the service. The request was carried out completely or not at all; it is not known which."""

    advice = "Make the same call again, with the same idempotency key if it has one."


class OutcomeUnknown(TandemError):
    """The service may have carried out the call, or may still do so: no response says which.

    This is not a failure. Make the same call again with `idempotency_key=error.idempotency_key`, now or in an hour: it
    is not carried out twice, and the response tells the outcome. `attempts` is the number of requests sent.
    """

    def __init__(self, message: str, *, attempts: int, idempotency_key: str, request_id: str | None = None) -> None:
        super().__init__(message, idempotency_key=idempotency_key, request_id=request_id)
        self.attempts = attempts


class Unavailable(TandemError):
    """There was no final response before the deadline, and no call with an idempotency key was carried out.

    Either the call has no such key, or the service handled none of its requests. A DELETE, or a change of a webhook
    endpoint, may have been carried out; it is safe to repeat.
    """


class StatusNotReached(TandemError):
    """`wait_until` ended before the order had the status. `order` is the order as it is now."""

    def __init__(self, order: Order, wanted: Iterable[str], reason: str) -> None:
        expected = " or ".join(sorted(wanted))
        error = f" ({order.payment.failure_reason})" if order.payment and order.payment.failure_reason else ""
        super().__init__(f"Order {order.id} is {order.status}{error}, not {expected}: {reason}")
        self.order = order


class UnexpectedAnswer(TandemError):
    """A response that is not Tandem's (a proxy's, another server's), or that lacks a field that this client needs.

    `status` is its HTTP status, `body` its content.
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
        super().__init__(message, idempotency_key=idempotency_key, request_id=request_id)
        self.status, self.body = status, body


class InvalidSignature(TandemError):
    """A webhook that none of the secrets signed, that was changed, or that was signed more than five minutes ago."""


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


def from_problem(problem: Problem, *, idempotency_key: str | None = None, retry_after: float | None = None) -> ApiError:
    """Return the exception for a problem, chosen by its status."""
    kind = _BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else ApiError)
    error = kind(problem, idempotency_key=idempotency_key)
    if isinstance(error, RateLimited):
        error.retry_after = retry_after
    return error


def _message(problem: Problem, advice: str) -> str:
    detail = problem.detail or problem.title
    if detail in {error.detail for error in problem.errors}:
        detail = ""  # the field's error says it
    summary = f"{problem.status} {problem.name or problem.title}: {detail}".rstrip()
    field_errors = "; ".join(f"{error.pointer or '/'}: {error.detail}" for error in problem.errors)
    request = f"(request {problem.request_id})" if problem.request_id else ""
    about = f"See {problem.about}" if problem.about else ""
    return " ".join(part for part in (summary, field_errors, advice, about, request) if part)
