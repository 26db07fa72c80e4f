"""The messages of exceptions, pickling, and responses that are not Tandem's."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
import responses

from tandem_client import (
    ApiError,
    Client,
    Invalid,
    NotFound,
    OutcomeUnknown,
    Problem,
    RateLimited,
    ServerError,
    TandemError,
    UnexpectedAnswer,
    errors,
)
from tests.unit.client.conftest import KEY, ORDER_URL, ORDERS, place

VALIDATION_PROBLEM = {
    "type": "/problems/validation",
    "title": "The request is not valid",
    "status": 422,
    "detail": "1 field is not valid.",
    "instance": "/v1/orders",
    "request_id": "req-7",
    "errors": [{"pointer": "/items/0/quantity", "detail": "Must be at least 1."}],
}


def test_an_exception_names_the_field_and_a_page_to_read(client: Client, service: responses.RequestsMock) -> None:
    service.post(ORDERS, json=VALIDATION_PROBLEM, status=422, headers={"X-Request-Id": "req-7"})
    with pytest.raises(Invalid) as caught:
        place(client)
    error = caught.value
    assert str(error) == (
        "422 validation: 1 field is not valid. /items/0/quantity: Must be at least 1. "
        f"See {ORDER_URL}/problems/validation (request req-7)"
    )
    assert (error.status, error.problem.name, error.request_id) == (422, "validation", "req-7")
    assert error.problem.errors[0].pointer == "/items/0/quantity"


def test_a_detail_that_is_the_field_s_is_in_the_message_once(client: Client, service: responses.RequestsMock) -> None:
    problem = {**VALIDATION_PROBLEM, "detail": "Must be at least 1."}
    service.post(ORDERS, json=problem, status=422, headers={"X-Request-Id": "req-7"})
    with pytest.raises(Invalid, match=r"^422 validation: /items/0/quantity: Must be at least 1\. See "):
        place(client)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ("<html>Not here</html>", 404, NotFound),
        ("", 418, ApiError),
        ("[1]", 500, ServerError),
        ('{"type": 7, "errors": [3, {"pointer": 4}], "detail": null}', 422, Invalid),
        ('{"errors": "none"}', 422, Invalid),
        ("[" * 100_000, 500, ServerError),
    ],
)
def test_any_error_response_raises_the_exception_of_its_status(
    client: Client, service: responses.RequestsMock, body: str, status: int, kind: type[ApiError]
) -> None:
    service.post(ORDERS, body=body, status=status)
    with pytest.raises(kind, match=str(status)) as caught:
        place(client)
    assert type(caught.value) is kind
    assert KEY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        errors.from_problem(
            Problem("/problems/rate-limited", "Slow", 429, "Too fast."), idempotency_key="k", retry_after=3.0
        ),
        OutcomeUnknown("gone", attempts=3, idempotency_key="k", request_id="r"),
        UnexpectedAnswer("odd", status=200, body=b"<html>"),
        errors.InvalidSignature("forged"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_can_be_pickled(error: TandemError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_the_tree_in_the_docstring_matches_the_classes() -> None:
    lines = (errors.__doc__ or "").splitlines()
    kinds: list[Any] = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    for kind in (kind for kind in kinds if issubclass(kind, TandemError)):
        (line,) = [line for line in lines if f" {kind.__name__} " in line]
        depth = len(kind.__mro__) - len(TandemError.__mro__)
        assert line.index(kind.__name__) == 4 + 4 * depth, kind


def test_a_rate_limit_without_retry_after_has_none() -> None:
    error = errors.from_problem(Problem("about:blank", "Slow", 429, ""))
    assert isinstance(error, RateLimited)
    assert error.retry_after is None
    assert "429 about:blank: Slow" in str(error)
