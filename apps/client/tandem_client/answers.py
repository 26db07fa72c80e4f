"""`Answer`, and the functions that read JSON into the dataclasses of `model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar, cast

from tandem_client.errors import UnexpectedAnswer


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP response that a result was read from.

    `status` 202 means that the requested action is still in progress. `replayed` means that an earlier request with the
    same `idempotency_key` did the work. `request_id` identifies the request in the services' logs. `body` is the JSON
    as received, including fields that this client does not know.
    """

    status: int
    body: Mapping[str, Any]
    request_id: str | None = None
    replayed: bool = False
    idempotency_key: str | None = None


class Result(Protocol):
    """A dataclass with a field `answer`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=Result)


class Several(tuple[T, ...]):
    """The results of one response, in its order. `answer` is that response."""

    answer: Answer


def answer_field() -> Any:
    """Declare the field `answer` of a result. `repr` and `==` ignore it."""
    return field(repr=False, compare=False)


def json_field(name: str | None = None, read: Callable[[Any], Any] | None = None, default: Any = MISSING) -> Any:
    """Declare a field that has another name in JSON, or that `read` converts unless it is null.

    With a default, the JSON need not have the field.
    """
    return field(metadata={"name": name, "read": read}, default=default)


def result_field(kind: type[Any], name: str | None = None) -> Any:
    """Declare a field that is itself a result of the type `kind`, or null. Its `answer.body` is its own JSON object."""
    return field(metadata={"name": name, "kind": kind})


def time_field(default: Any = MISSING) -> Any:
    """Declare a field that is a point in time (RFC 3339)."""
    return json_field(read=parse_time, default=default)


def parse_time(text: str) -> datetime:
    """Parse a point in time (RFC 3339). Raises ValueError or AttributeError if the value is not a time."""
    # Python 3.10 does not know the suffix Z.
    return datetime.fromisoformat(f"{text.removesuffix('Z')}+00:00" if text.endswith("Z") else text)


def read(kind: type[T], answer: Answer) -> T:
    """Read the body of `answer` as a `kind`. Fields that `kind` does not have are ignored.

    Raises UnexpectedAnswer if a field is missing or cannot be read.
    """
    return _read(kind, answer.body, answer)


def read_all(kind: type[T], answer: Answer) -> Several[T]:
    """Read the list `data` in the body of `answer`. The `answer.body` of each result is its own JSON object.

    Raises UnexpectedAnswer if there is no such list, or if a field is missing or cannot be read.
    """
    data = answer.body.get("data")
    if not isinstance(data, list):
        raise UnexpectedAnswer(
            "The response has no list named data.", status=answer.status, body=answer.body, request_id=answer.request_id
        )
    results = Several(_read(kind, each, answer) for each in data)
    results.answer = answer
    return results


def nested(kind: type[Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that reads a JSON object within a result as a `kind`."""
    return lambda members: kind(**_field_values(kind, members))


def nested_list(kind: type[Any]) -> Callable[[Iterable[Mapping[str, Any]]], Any]:
    """Return a function that reads a list of JSON objects within a result as a tuple of `kind`."""
    return lambda items: tuple(kind(**_field_values(kind, members)) for members in items)


def _read(kind: type[T], members: Mapping[str, Any], answer: Answer) -> T:
    make = cast("Callable[..., T]", kind)
    own_answer = replace(answer, body=members)
    try:
        return make(**_field_values(kind, members, own_answer), answer=own_answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"The response is not a valid {kind.__name__} ({type(error).__name__}: {error}). "
            "Check that the URL is Tandem's and that this client is not older than the service.",
            status=answer.status,
            body=members,
            request_id=answer.request_id,
            idempotency_key=answer.idempotency_key,
        ) from error


def _field_values(kind: type[Any], members: Mapping[str, Any], answer: Answer | None = None) -> dict[str, Any]:
    values = {}
    for each in fields(kind):
        if each.name == "answer":
            continue
        name = each.metadata.get("name") or each.name
        if name not in members and each.default is not MISSING:
            continue
        value, reader, result = members[name], each.metadata.get("read"), each.metadata.get("kind")
        if value is not None and result is not None and answer is not None:
            own_answer = replace(answer, body=value)
            values[each.name] = result(**_field_values(result, value, own_answer), answer=own_answer)
        else:
            values[each.name] = value if value is None or reader is None else reader(value)
    return values
