"""What an answer consists of, and reading JSON into the types of `model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from tandem_client.errors import UnexpectedAnswer


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP answer that a result was read from.

    `status` 202 says that what was asked for is under way. `replayed` says that an earlier request with the same
    `idempotency_key` had done it. `request_id` finds it in the services' logs. `body` is the JSON as it came, with
    whatever a newer service says and this client has no name for.
    """

    status: int
    body: Mapping[str, Any]
    request_id: str | None = None
    replayed: bool = False
    idempotency_key: str | None = None


class Result(Protocol):
    """A dataclass that can be read: it has a member `answer`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=Result)


class Several(tuple[T, ...]):
    """Results that came in one answer, in its order; `answer` is that answer."""

    answer: Answer


def origin() -> Any:
    """The member `answer` of a result: where it was read from, which makes no difference to what it is."""
    return field(repr=False, compare=False)


def member(name: str | None = None, read: Callable[[Any], Any] | None = None, default: Any = MISSING) -> Any:
    """A member of a result that has another name in JSON, or is to be read by a function unless it is null.

    With a default it need not be there.
    """
    return field(metadata={"name": name, "read": read}, default=default)


def time() -> Any:
    """A member that is a point in time (RFC 3339)."""
    return member(read=datetime.fromisoformat)


def read(kind: type[T], answer: Answer) -> T:
    """The result that an answer's body is. What it has more than is known is passed over.

    Raises UnexpectedAnswer when it lacks something, or has what cannot be read.
    """
    return _read(kind, answer.body, answer)


def read_all(kind: type[T], answer: Answer) -> Several[T]:
    """The results that an answer's `data` holds; each one's `answer.body` is its own part. Raises UnexpectedAnswer."""
    data = answer.body.get("data")
    if not isinstance(data, list):
        raise UnexpectedAnswer(
            "The answer has no list named data.", status=answer.status, body=answer.body, request_id=answer.request_id
        )
    results = Several(_read(kind, each, answer) for each in data)
    results.answer = answer
    return results


def part(kind: type[Any]) -> Callable[[Mapping[str, Any]], Any]:
    """A function that reads an object within a result."""
    return lambda members: kind(**_members(kind, members))


def parts(kind: type[Any]) -> Callable[[Iterable[Mapping[str, Any]]], Any]:
    """A function that reads a list of objects within a result."""
    return lambda all_of_them: tuple(kind(**_members(kind, members)) for members in all_of_them)


def _read(kind: type[T], members: Mapping[str, Any], answer: Answer) -> T:
    make: Callable[..., T] = kind
    own = replace(answer, body=members)
    try:
        return make(**_members(kind, members), answer=own)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"The answer is not what this client takes for {kind.__name__} ({type(error).__name__}: {error}): "
            "is this client older than the service, or the address another server's?",
            status=answer.status,
            body=members,
            request_id=answer.request_id,
            idempotency_key=answer.idempotency_key,
        ) from error


def _members(kind: type[Any], members: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for each in fields(kind):
        if each.name == "answer":
            continue
        name = each.metadata.get("name") or each.name
        if name not in members and each.default is not MISSING:
            continue
        value, reader = members[name], each.metadata.get("read")
        found[each.name] = value if value is None or reader is None else reader(value)
    return found
