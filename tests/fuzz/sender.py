"""Completes requests with values that cannot be generated: new idempotency keys, real cursors, valid signatures.

Only values that are valid by the document are replaced, so values that are wrong on purpose stay wrong.
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
_WITH_URL = ("/v1/webhook-endpoints", "/v1/webhook-endpoints/{webhook_endpoint_id}")
_SIGNED = {"webhook-id", "webhook-timestamp", "webhook-signature"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAMED_BY_CALLERS = {"/v1/payments": "order_id", "/payments": "order_id", "/orders": "id"}
"""The paths where a caller chooses the id of a new resource, and the body's member for it."""

_UNCHANGED = 8
"""One in 8 requests keeps the generated merchant or version, and is rejected because of it."""


class Sender:
    """Completes the requests to one service. New webhook endpoints get the URL `receiver`.

    With `signs=False`, events are not signed.
    """

    def __init__(self, receiver: str, *, signs: bool) -> None:
        self._receiver, self._signs = receiver, signs
        self._cursors: dict[str, str] = {}
        self._numbers = itertools.count()

    def before_call(self, context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        """Complete a request before it is sent."""
        number, headers, path = next(self._numbers), case.headers, case.operation.path
        if _fits(_VISIBLE, headers.get("Idempotency-Key")):
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if _fits(_MERCHANT, headers.get("Tandem-Merchant")) and number % _UNCHANGED:
            headers["Tandem-Merchant"] = "demo"
        if headers.get("If-Match") and number % _UNCHANGED:
            headers["If-Match"] = "*"
        for name in [name for name in headers if "_" in name]:
            del headers[name]  # gunicorn rejects it, because WSGI cannot tell it from one with a dash
        if self._signs and path == "/v1/payment-events" and headers.keys() >= _SIGNED:
            kwargs["auth"] = _Signature() if _fits(_TIMESTAMP, headers["webhook-timestamp"]) else None
        if isinstance(case.query, dict) and _is_text(case.query.get("cursor"), 100):
            known = {"cursor": self._cursors[path]} if path in self._cursors else {}
            case.query = {name: value for name, value in case.query.items() if name != "cursor"} | known
        if isinstance(case.query, dict) and "updated_after" in case.query and _is_valid(case):
            # The list by the last change has its own order, which a schema of single parameters cannot express.
            case.query = {name: value for name, value in case.query.items() if name != "sort"}
        if isinstance(case.body, dict):
            case.body = self._body(path, case.body, is_new=number % 2 == 0, is_valid=_is_valid(case))

    def _body(self, path: str, body: dict[str, Any], *, is_new: bool, is_valid: bool) -> dict[str, Any]:
        if path in _WITH_URL and _is_text(body.get("url"), 2000):
            body = {**body, "url": self._receiver}
        name = _NAMED_BY_CALLERS.get(path)
        if name and is_new and _fits(_UUID, body.get(name)):
            body = {**body, name: str(uuid.uuid4())}
        if is_valid and path == "/v1/orders":
            body = {**body, "items": _consistent(body["items"])}
        # For JSON Schema 450.0 is an integer. Both services require the form 450, as their documents say.
        return dict(_whole(body)) if is_valid else body

    def after_call(self, context: HookContext, case: Case[Any], response: Response) -> None:
        """Keep the cursor of the next page of a list."""
        if response.status_code == 200 and b'"next_cursor": "' in (response.content or b""):
            self._cursors[case.operation.path] = response.json()["next_cursor"]


class _Signature(requests.auth.AuthBase):
    """Signs the sent bytes as payment does, with a new event id."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        data = body.encode() if isinstance(body, str) else body
        with suppress(UnicodeDecodeError):  # a body that is not UTF-8 cannot be signed
            request.headers.update(signatures.sign(SECRET, str(uuid.uuid4()), data))
        return request


def _is_valid(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest and not _CONTROL.search(value)


def _consistent(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lines whose tax is part of their amounts and whose total is not negative: no schema can express that."""
    amounts = [line["quantity"] * line["unit_amount"] for line in items]
    found = []
    for line, amount in zip(items, amounts, strict=True):
        free = line if sum(amounts) >= 0 or amount >= 0 else {**line, "unit_amount": 0}
        fits = free is line and min(0, amount) <= line.get("tax_amount", 0) <= max(0, amount)
        found.append(free if fits else {name: value for name, value in free.items() if name != "tax_amount"})
    return found


def _whole(value: Any) -> Any:
    """Convert numbers without a fraction to integers."""
    if isinstance(value, dict):
        return {name: _whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
