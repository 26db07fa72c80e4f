"""`@operation` and `@listing`: methods that `Client` and `AsyncClient` share.

Each method is written once, as a generator of steps (`tandem_client.steps`). The class that it is called on decides how
the steps are carried out: in `Client`, the method returns its result; in `AsyncClient`, a coroutine with that result. A
type checker sees the right one.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from tandem_client.answers import Result, Several
from tandem_client.steps import FailedAttempt, Listing, Received, Request, Step, Steps

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Result)


class BlockingRunner:
    """Carries out steps in the calling thread."""

    @abstractmethod
    def _send_request(self, request: Request) -> Received | FailedAttempt:
        """Send a request and read the whole response."""

    @abstractmethod
    def _pause(self, seconds: float) -> None:
        """Wait."""

    def _perform(self, step: Step) -> Received | FailedAttempt | None:
        if isinstance(step, Request):
            return self._send_request(step)
        self._pause(step.seconds)
        return None

    def _run(self, steps: Steps[T]) -> T:
        """Carry out an operation and return its result."""
        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._perform(step)

    def _iterate(self, steps: Listing[R]) -> Iterator[R]:
        """Yield the results of a list. A page is requested when the one before it is used up."""
        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Several):
                yield from step
            else:
                outcome = self._perform(step)


class AsyncRunner:
    """Carries out steps in the caller's event loop."""

    @abstractmethod
    async def _send_request(self, request: Request) -> Received | FailedAttempt:
        """Send a request and read the whole response."""

    @abstractmethod
    async def _pause(self, seconds: float) -> None:
        """Wait."""

    async def _perform(self, step: Step) -> Received | FailedAttempt | None:
        if isinstance(step, Request):
            return await self._send_request(step)
        await self._pause(step.seconds)
        return None

    async def _run(self, steps: Steps[T]) -> T:
        """Carry out an operation and return its result."""
        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._perform(step)

    async def _iterate(self, steps: Listing[R]) -> AsyncIterator[R]:
        """Yield the results of a list. A page is requested when the one before it is used up."""
        outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Several):
                for result in step:
                    yield result
            else:
                outcome = await self._perform(step)


class operation(Generic[P, T]):  # noqa: N801 - a decorator
    """Decorator: make a generator of steps a method of both clients. The method returns the generator's result."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self._steps = steps

    @overload
    def __get__(self, client: BlockingRunner, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, client: BlockingRunner | AsyncRunner | None, owner: type) -> Any:
        """Return the method of a client, or on the class the function with its arguments and documentation."""
        return self._steps if client is None else _bound(client, self._steps, client._run)


class listing(Generic[P, R]):  # noqa: N801 - a decorator
    """Decorator: make a generator of steps and pages a method of both clients. The method returns an iterator."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Listing[R]]) -> None:
        self._steps = steps

    @overload
    def __get__(self, client: BlockingRunner, owner: type) -> Callable[P, Iterator[R]]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, AsyncIterator[R]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, client: BlockingRunner | AsyncRunner | None, owner: type) -> Any:
        """Return the method of a client, or on the class the function with its arguments and documentation."""
        return self._steps if client is None else _bound(client, self._steps, client._iterate)


def _bound(client: object, steps: Callable[..., Any], run: Callable[[Any], Any]) -> Callable[..., Any]:
    @functools.wraps(steps)
    def method(*args: Any, **options: Any) -> Any:
        return run(steps(client, *args, **options))

    # The signature that `help` and `inspect` show: without `self`.
    method.__wrapped__ = functools.partial(steps, client)
    return method
