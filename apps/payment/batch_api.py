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
from chassis.http.problems import Problem, invalid
from chassis.service import service, usable_headers
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
@blueprint.arguments(batch_schemas.Commands)
@blueprint.response(200, batch_schemas.CommandResults)
def carry_out(wanted: dict[str, Any]) -> Response:
    """Carry out commands of the order service, each under its own idempotency key.

    Each command has the effect and the status that it would have alone. The results are in the order of the commands.
    The key also needs `payments:write`.
    """
    batches: Batches = service().use_cases["batches"]
    results: dict[int, Result] = {}
    commands: dict[int, Command] = {}
    for number, each in enumerate(wanted["commands"]):
        try:
            commands[number] = _command(number, each)
        except Problem as problem:
            results[number] = Result(problem=problem)
    results |= zip(commands, batches.carry_out(list(commands.values())), strict=True)
    body = b",".join(_result(each["id"], results[number]) for number, each in enumerate(wanted["commands"]))
    return answer(b'{"results":[' + body + b"]}")


def _command(number: int, each: dict[str, Any]) -> Command:
    """Return a command.

    Raises Problem `validation` if its payload does not fit its topic, or if it could not have come alone: its merchant
    or its key is not valid.
    """
    if not is_merchant(each["merchant"]):
        raise invalid(f"/commands/{number}/merchant", "Not a valid merchant name.")
    if not idempotency.is_key(each["id"]) or cards.is_written_as_card(each["id"]):
        raise invalid(f"/commands/{number}/id", "Not a valid idempotency key.")
    payload, topic = dict(each["payload"]), each["topic"]
    payment_id = None if topic == CREATE else str(payload.pop("payment_id", ""))
    path = "/v1/payments" if payment_id is None else f"/v1/payments/{payment_id}/{_PATHS[topic]}"
    try:
        loaded = _LOAD[topic](payload)
        if payment_id is not None:
            batch_schemas.PaymentId().load({"payment_id": payment_id})
    except marshmallow.ValidationError as error:
        raise invalid(f"/commands/{number}/payload", str(error.messages)[:500]) from error
    claimed = claim(each["merchant"], each["id"], path, payload)
    return Command(topic, claimed, payment_id, loaded, usable_headers(each["headers"]))


def _result(key: str, result: Result) -> bytes:
    """Return a result as JSON. The views are JSON already."""
    members = [b'"id":' + to_json(key)]
    members += [
        b'"%s":%s' % (name, compact(row["body"]))
        for name, row in ((b"payment", result.payment), (b"refund", result.refund))
        if row is not None
    ]
    if result.operation is not None:
        members.append(b'"operation":' + to_json(dict(result.operation)))
    if result.problem is not None:
        members.append(b'"problem":' + to_json({"name": result.problem.name, "detail": result.problem.detail}))
    return b"{%s}" % b",".join(members)
