"""What a generator cannot make up: a key that is new, a cursor that was given out, a signature of the very bytes.

Only what the document calls valid is replaced, so what is wrong on purpose stays wrong.
"""

from __future__ import annotations

import itertools
import re
import uuid
from contextlib import suppress
from typing import Any

import requests
from schemathesis import Case, HookContext, Response

from chassis.messaging import signatures
from tests.support.settings import SECRET

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_MERCHANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TIMESTAMP = re.compile(r"[0-9]+")
_SIGNED = {"webhook-id", "webhook-timestamp", "webhook-signature"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAMED_BY_CALLERS = {"/v1/payments": "order_id", "/payments": "order_id", "/orders": "id"}
"""Where a body names a new thing by an id of the caller's, and the member that does."""

_AS_DRAWN = 8
"""One in so many requests keeps the merchant or the version that was drawn, and is refused for it."""


class Sender:
    """Completes the requests to one service; webhooks go to the URL `receiver`.

    With `signs` False, events are sent without the secret that they should be signed with.
    """

    def __init__(self, receiver: str, *, signs: bool) -> None:
        """It knows no cursor yet."""
        self._receiver, self._signs = receiver, signs
        self._cursors: dict[str, str] = {}
        self._numbers = itertools.count()

    def before_call(self, context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        """Change a request that is about to be sent."""
        number, headers, path = next(self._numbers), case.headers, case.operation.path
        if _fits(_VISIBLE, headers.get("Idempotency-Key")):
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if _fits(_MERCHANT, headers.get("Tandem-Merchant")) and number % _AS_DRAWN:
            headers["Tandem-Merchant"] = "demo"
        if headers.get("If-Match") and number % _AS_DRAWN:
            headers["If-Match"] = "*"
        for name in [name for name in headers if "_" in name]:
            del headers[name]  # gunicorn refuses it: for WSGI it would be the same as one with a dash
        if self._signs and path == "/v1/payment-events" and headers.keys() >= _SIGNED:
            kwargs["auth"] = _Signature() if _fits(_TIMESTAMP, headers["webhook-timestamp"]) else None
        if isinstance(case.query, dict) and _is_text(case.query.get("cursor"), 100):
            known = {"cursor": self._cursors[path]} if path in self._cursors else {}
            case.query = {name: value for name, value in case.query.items() if name != "cursor"} | known
        if isinstance(case.body, dict):
            case.body = self._body(path, case.body, is_new=number % 2 == 0, is_valid=_is_valid(case))

    def _body(self, path: str, body: dict[str, Any], *, is_new: bool, is_valid: bool) -> dict[str, Any]:
        if path == "/v1/webhook-endpoints" and _is_text(body.get("url"), 2000):
            body = {**body, "url": self._receiver}
        name = _NAMED_BY_CALLERS.get(path)
        if name and is_new and _fits(_UUID, body.get(name)):
            body = {**body, name: str(uuid.uuid4())}
        # JSON Schema takes 450.0 for an integer; both services want it written as one, which their documents say.
        return dict(_whole(body)) if is_valid else body

    def after_call(self, context: HookContext, case: Case[Any], response: Response) -> None:
        """Remember where the next page of a list begins."""
        if response.status_code == 200 and b'"next_cursor": "' in (response.content or b""):
            self._cursors[case.operation.path] = response.json()["next_cursor"]


class _Signature(requests.auth.AuthBase):
    """Signs the bytes that are sent, as payment does; it is an event of its own then."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        data = body.encode() if isinstance(body, str) else body
        with suppress(UnicodeDecodeError):  # what is no UTF-8 cannot be signed, and need not be
            request.headers.update(signatures.sign(SECRET, str(uuid.uuid4()), data))
        return request


def _is_valid(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest and not _CONTROL.search(value)


def _whole(value: Any) -> Any:
    """Numbers without a fraction as integers."""
    if isinstance(value, dict):
        return {name: _whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
