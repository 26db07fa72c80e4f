"""A fake of Stripe's API in this process: PaymentIntents, refunds and idempotency keys, over HTTP.

It supports only what Tandem uses, and is as strict as Stripe where that matters: an idempotency key is bound to its
parameters, keeps its response and can expire, and the search index is not up to date.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from flask import Flask, Request, Response, request
from werkzeug.serving import make_server

from tests.support.listening import listening

DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_authenticationRequired": ("authentication_required", "authentication_required"),
}
"""Stripe's test tokens, with the code and the decline code of each."""

Answer = tuple[int, dict[str, Any]]


class StandIn:
    """One Stripe account. It is served while its `with` block runs."""

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputed: set[str] = set()
        """The ids of PaymentIntents whose charge the customer disputes."""
        self.requests: list[tuple[str, str]] = []
        self.sale_status = self.refund_status = "succeeded"
        self._searchable: set[str] = set()
        self._keys: dict[str, tuple[bytes, Answer | None]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.hold: Callable[[], object] = lambda: None
        """Called while a request with a key is in progress. No lock is held then."""
        app = Flask("standin")
        app.add_url_rule("/v1/<path:path>", view_func=self._serve, methods=["GET", "POST"])
        self._running = ExitStack()
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._running.enter_context(listening(self._server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def forget_keys(self) -> None:
        """Forget all idempotency keys, as Stripe does after a day."""
        self._keys.clear()

    def index(self) -> None:
        """Bring the search index up to date."""
        self._searchable = set(self.intents)

    def refund_by_hand(self, intent: str, amount: int) -> dict[str, Any]:
        """Refund a PaymentIntent as a person does in Stripe's dashboard: without metadata."""
        with self._lock:
            status, refund = self._refund({"payment_intent": intent, "amount": str(amount)}, {})
        assert status == 200, refund
        return refund

    def _serve(self, path: str) -> Response:
        self.requests.append((request.method, path))
        status, body = self._get(path, request) if request.method == "GET" else self._post(path, request)
        return Response(json.dumps(body), status, mimetype="application/json")

    def _get(self, path: str, asked: Request) -> Answer:
        if path == "payment_intents/search":
            match = re.fullmatch(r"metadata\['(tandem_\w+)'\]:'([0-9a-f-]{36})'", asked.args["query"])
            assert match is not None, asked.args["query"]
            found = [each for id, each in self.intents.items() if id in self._searchable]
            found = [each for each in found if each["metadata"].get(match[1]) == match[2]][: int(asked.args["limit"])]
            # The index may have an old state of an intent.
            stale = [{**each, "status": "requires_confirmation"} for each in found]
            return 200, {"object": "search_result", "data": stale, "has_more": False, "url": "/v1/" + path}
        if path == "refunds":
            intent = asked.args.get("payment_intent")
            refunds = [each for each in self.refunds.values() if intent in (None, each["payment_intent"])]
            return _listed(refunds, asked)
        if path == "payment_intents":
            return _listed(self.intents.values(), asked)
        kind, _, name = path.partition("/")
        if kind == "charges":
            return self._charge(name)
        found_one = {"payment_intents": self.intents, "refunds": self.refunds}[kind].get(name)
        if found_one is None:
            return _refusal("resource_missing", "intent", 404)
        if "payment_intent" in asked.args.getlist("expand[0]"):
            found_one = {**found_one, "payment_intent": self.intents[found_one["payment_intent"]]}
        return 200, found_one

    def _charge(self, charge: str) -> Answer:
        for intent in self.intents.values():
            if intent["latest_charge"] == charge:
                disputed = intent["id"] in self.disputed
                about = {"payment_intent": intent["id"], "metadata": intent["metadata"], "disputed": disputed}
                return 200, {"id": charge, "object": "charge", "currency": intent["currency"], **about}
        return _refusal("resource_missing", "charge", 404)

    def _post(self, path: str, asked: Request) -> Answer:
        key, content = asked.headers["Idempotency-Key"], path.encode() + asked.get_data()
        with self._lock:
            kept = self._keys.get(key)
            if kept is None:
                self._keys[key] = (content, None)
        if kept is not None:
            if kept[0] != content:
                return 400, {"error": {"type": "idempotency_error", "message": "the key belongs to another request"}}
            conflict = {"type": "invalid_request_error", "code": "idempotency_key_in_use", "message": "in use"}
            return kept[1] or (409, {"error": conflict})
        self.hold()
        with self._lock:
            answer = self._act(path.split("/"), asked.form.to_dict())
            self._keys[key] = (content, answer)
        return answer

    def _act(self, path: list[str], form: dict[str, str]) -> Answer:
        metadata = {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")}
        if path == ["payment_intents"]:
            return self._create(form, metadata)
        if path == ["refunds"]:
            return self._refund(form, metadata)
        intent = self.intents.get(path[1])
        if intent is None:
            return _refusal("resource_missing", "intent", 404)
        if intent["status"] != "requires_capture":
            return _refusal("payment_intent_unexpected_state")
        if path[2] == "cancel":
            intent.update(status="canceled", amount_capturable=0)
        else:
            amount = int(form["amount_to_capture"])
            if amount > intent["amount"]:
                return _refusal("amount_too_large", "amount_to_capture")
            intent["metadata"].update(metadata)
            intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
        return 200, dict(intent)

    def _create(self, form: dict[str, str], metadata: dict[str, str]) -> Answer:
        assert (form["confirm"], form["error_on_requires_action"]) == ("true", "true"), form
        token = form["payment_method"]
        if not token.startswith("pm_card_"):
            return _refusal("resource_missing", "payment_method")
        amount, manual = int(form["amount"]), form["capture_method"] == "manual"
        number = next(self._numbers)
        intent: dict[str, Any] = {
            "id": f"pi_{number}",
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": amount if manual else 0,
            "amount_received": 0 if manual else amount,
            "created": int(time.time()),
            "currency": form["currency"],
            "capture_method": form["capture_method"],
            "payment_method": token,
            "status": "requires_capture" if manual else self.sale_status,
            "metadata": metadata,
            "latest_charge": f"ch_{number}",
            "cancellation_reason": None,
            "last_payment_error": None,
        }
        self.intents[intent["id"]] = intent
        if token in DECLINES:
            code, decline = DECLINES[token]
            error: dict[str, Any] = {"type": "card_error", "code": code, "decline_code": decline, "message": "declined"}
            error["payment_method"] = {"id": token, "object": "payment_method"}
            intent.update(status="requires_payment_method", amount_received=0, amount_capturable=0)
            intent["last_payment_error"] = error
            intent["payment_method"] = None  # as Stripe does
            return 402, {"error": {**error, "payment_intent": dict(intent)}}
        return 200, dict(intent)

    def _refund(self, form: dict[str, str], metadata: dict[str, str]) -> Answer:
        intent, amount = self.intents[form["payment_intent"]], int(form["amount"])
        refunded = sum(
            each["amount"]
            for each in self.refunds.values()
            if each["payment_intent"] == intent["id"] and each["status"] != "failed"
        )
        if intent["status"] == "succeeded" and refunded == intent["amount_received"]:
            return _refusal("charge_already_refunded")
        if refunded + amount > intent["amount_received"]:
            return _refusal(None, "amount")
        refund = {
            "id": f"re_{next(self._numbers)}",
            "object": "refund",
            "amount": amount,
            "created": int(time.time()),
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "status": self.refund_status,
            "metadata": metadata,
        }
        self.refunds[refund["id"]] = refund
        return 200, dict(refund)


def _listed(objects: Iterable[dict[str, Any]], asked: Request) -> Answer:
    """Return a page of two objects, newest first, as Stripe does with up to 100."""
    first, last = (int(asked.args.get(f"created[{edge}]", default)) for edge, default in (("gte", 0), ("lte", 2**40)))
    found = [each for each in objects if first <= each["created"] <= last][::-1]
    after = asked.args.get("starting_after")
    begin = next((number + 1 for number, each in enumerate(found) if each["id"] == after), 0)
    page = found[begin : begin + 2]
    more = len(found) > begin + len(page)
    return 200, {"object": "list", "data": page, "has_more": more, "url": asked.path}


def _refusal(code: str | None, param: str | None = None, status: int = 400) -> Answer:
    error = {"type": "invalid_request_error", "message": "refused", "code": code, "param": param}
    return status, {"error": {name: value for name, value in error.items() if value is not None}}
