"""The endpoint that takes many commands of the order service in one request."""

from __future__ import annotations

from typing import Any

import marshmallow
from flask import Response

from chassis import cards
from chassis.auth.keyring import ANY_MERCHANT, is_merchant, requires
from chassis.http import fast_load, idempotency
from chassis.http.answers import answer, compact, to_json
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.http.parsing import not_valid
from chassis.http.problems import Problem, invalid
from chassis.postgres.database import Row
from chassis.service import propagated_headers, service, usable_headers
from payment import batch_schemas, schemas
from payment.batches import CAPTURE, CREATE, REFUND, VOID, Batches, Command, Result, claim

blueprint = Blueprint("batches", __name__, url_prefix="/v1", description="Commands of the order service")

_LOAD = {
    CREATE: fast_load.loader(schemas.CreatePayment()),
    CAPTURE: fast_load.loader(schemas.Capture()),
    VOID: fast_load.loader(schemas.Nothing()),
    REFUND: fast_load.loader(schemas.CreateRefund()),
}
_PATHS = {CAPTURE: "capture", VOID: "void", REFUND: "refunds"}


@blueprint.post("/commands")
@requires(ANY_MERCHANT)
@requires("payments:write")
@blueprint.arguments(batch_schemas.CommandBatch)
@facts(keyed=True)
@blueprint.response(200, batch_schemas.CommandResults)
def carry_out(wanted: dict[str, Any]) -> Response:
    """Carry out commands of the order service, each under its own idempotency key.

    Each command has the effect and the status that it would have alone. The results are in the order of the commands.
    The API key also needs `payments:write`. The header `Idempotency-Key` is ignored: each command has its own key.
    """
    batches: Batches = service().use_cases["batches"]
    results: dict[int, Result] = {}
    commands: dict[int, Command] = {}
    for number, each in enumerate(wanted["commands"]):
        # The request of a single command is a request of its own trace.
        headers = propagated_headers() if len(wanted["commands"]) == 1 else usable_headers(each["headers"])
        try:
            commands[number] = _command(each, headers)
        except Problem as problem:
            results[number] = Result(problem=problem)
    results |= zip(commands, batches.carry_out(list(commands.values())), strict=True)
    body = b",".join(_result(each["id"], results[number]) for number, each in enumerate(wanted["commands"]))
    return answer(b'{"results":[' + body + b"]}")


def _command(each: dict[str, Any], headers: dict[str, str]) -> Command:
    """Return a command.

    Raises Problem `validation` if its payload does not fit its topic, or if it could not have come alone: its merchant
    or its key is not valid.
    """
    if not is_merchant(each["merchant"]):
        raise invalid("/merchant", "Not a valid merchant name.")
    if not idempotency.is_key(each["id"]) or cards.is_written_as_card(each["id"]):
        raise invalid("/id", "Not a valid idempotency key.")
    payload, topic = dict(each["payload"]), each["topic"]
    payment_id = None if topic == CREATE else str(payload.pop("payment_id", ""))
    path = "/v1/payments" if payment_id is None else f"/v1/payments/{payment_id}/{_PATHS[topic]}"
    try:
        loaded = _LOAD[topic](payload)
        if payment_id is not None:
            batch_schemas.PaymentId().load({"payment_id": payment_id})
    except marshmallow.ValidationError as error:
        raise not_valid(error) from error
    return Command(topic, claim(each["merchant"], each["id"], path, payload), payment_id, loaded, headers)


def _result(key: str, result: Result) -> bytes:
    """Return a result as JSON. The views are JSON already."""
    problem = result.problem
    members = {"id": to_json(key), "payment": _view(result.payment), "refund": _view(result.refund)}
    members["operation"] = to_json(dict(result.operation)) if result.operation is not None else b"null"
    members["problem"] = to_json(_reason(problem)) if problem is not None else b"null"
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name, value in members.items())


def _view(row: Row | None) -> bytes:
    return compact(row["body"]) if row is not None else b"null"


def _reason(problem: Problem) -> dict[str, str]:
    detail = "; ".join(f"{each['pointer']}: {each['detail']}" for each in problem.errors) or problem.detail
    return {"name": problem.name, "detail": detail[:500]}
