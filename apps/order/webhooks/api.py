"""The HTTP API of webhooks."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Response, g

from chassis.auth.keyring import requires
from chassis.http import idempotency, paging
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.service import service
from order.schemas import Nothing
from order.webhooks import schemas
from order.webhooks.service import Done, Webhooks

blueprint = Blueprint(
    "webhooks",
    __name__,
    url_prefix="/v1/webhook-endpoints",
    description="Webhooks: events sent to the merchant",
)


def webhooks() -> Webhooks:
    """Return the use cases of the current application."""
    found: Webhooks = service().use_cases["webhooks"]
    return found


def _answer(done: Done, status: int, headers: dict[str, str] | None = None) -> Response:
    headers = {**(headers or {}), **({"Idempotency-Replayed": "true"} if done.replayed else {})}
    if done.secret is None:
        return answer(done.row["body"], status, headers=headers)
    headers["Cache-Control"] = "no-store"
    return answer({**json.loads(done.row["body"]), "secret": done.secret}, status, headers=headers)


@blueprint.post("")
@requires("orders:write")
@blueprint.arguments(schemas.CreateEndpoint)
@facts("webhook-endpoint-limit")
@blueprint.response(201, schemas.CreatedEndpointView)
def create_webhook_endpoint(wanted: dict[str, Any]) -> Response:
    """Create an endpoint that events are sent to.

    Only this response has the secret that signs the events. A retry has it too, until the secret is rotated.
    """
    done = webhooks().register(idempotency.claim(), wanted)
    return _answer(done, 201, {"Location": f"/v1/webhook-endpoints/{done.row['id']}"})


@blueprint.get("")
@requires("orders:read")
@blueprint.response(200, schemas.EndpointList)
def list_webhook_endpoints() -> Response:
    """List the merchant's endpoints, newest first."""
    return paging.whole(webhooks().find(g.merchant))


@blueprint.get("/<uuid:webhook_endpoint_id>")
@requires("orders:read")
@blueprint.response(200, schemas.EndpointView)
def get_webhook_endpoint(webhook_endpoint_id: UUID) -> Response:
    """Get an endpoint."""
    return answer(webhooks().get(g.merchant, str(webhook_endpoint_id))["body"])


@blueprint.patch("/<uuid:webhook_endpoint_id>")
@requires("orders:write")
@blueprint.arguments(schemas.EndpointChange)
@blueprint.response(200, schemas.EndpointView)
def change_webhook_endpoint(wanted: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """Change an endpoint. Its secret stays, and deliveries that wait go to the new URL.

    `"enabled": false` stops sending. Events are kept until the endpoint is enabled again.
    """
    return answer(webhooks().change(g.merchant, str(webhook_endpoint_id), wanted)["body"])


@blueprint.delete("/<uuid:webhook_endpoint_id>")
@requires("orders:write")
@blueprint.response(204)
def delete_webhook_endpoint(webhook_endpoint_id: UUID) -> Response:
    """Delete an endpoint, with its pending and dead deliveries."""
    webhooks().delete(g.merchant, str(webhook_endpoint_id))
    return Response(status=204)


@blueprint.post("/<uuid:webhook_endpoint_id>/rotate-secret")
@requires("orders:write")
@blueprint.arguments(schemas.Rotation)
@blueprint.response(200, schemas.CreatedEndpointView)
def rotate_webhook_secret(wanted: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """Create a new secret for an endpoint.

    The old secret signs events too for a while: `overlap_seconds`, by default a day or what the operator has set.
    A retry has the new secret too, until the next rotation.
    """
    return _answer(webhooks().rotate(idempotency.claim(), str(webhook_endpoint_id), wanted.get("overlap_seconds")), 200)


@blueprint.post("/<uuid:webhook_endpoint_id>/enable")
@requires("orders:write")
@blueprint.arguments(Nothing)
@blueprint.response(200, schemas.EndpointView)
def enable_webhook_endpoint(_: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """Enable an endpoint again that was disabled because it answered 410, or on request.

    The events that happened meanwhile are sent now, and those that waited when it was disabled.
    """
    return _answer(webhooks().enable(idempotency.claim(), str(webhook_endpoint_id)), 200)


@blueprint.post("/<uuid:webhook_endpoint_id>/test")
@requires("orders:write")
@blueprint.arguments(schemas.SendTest)
@facts("webhook-endpoint-disabled")
@blueprint.response(202, schemas.WholeDeliveryView)
def send_test_event(wanted: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """Send an event to an endpoint to test it: `webhook.test`, or an example of another type."""
    return _accepted(
        webhooks().send_test(idempotency.claim(), str(webhook_endpoint_id), wanted["type"]), webhook_endpoint_id
    )


@blueprint.post("/<uuid:webhook_endpoint_id>/redeliver")
@requires("orders:write")
@blueprint.arguments(schemas.Redelivery)
@facts("webhook-endpoint-disabled")
@blueprint.response(200, schemas.EndpointView)
def redeliver_webhooks(wanted: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """Send all events since a time again, with the same ids, whether their deliveries succeeded or are dead.

    `redelivering_since` of the endpoint is null again when all of them are due.
    """
    return _answer(webhooks().redeliver_since(idempotency.claim(), str(webhook_endpoint_id), wanted["since"]), 200)


@blueprint.get("/<uuid:webhook_endpoint_id>/deliveries")
@requires("orders:read")
@blueprint.arguments(schemas.DeliveriesQuery, location="query")
@blueprint.response(200, schemas.DeliveryList)
def list_webhook_deliveries(query: dict[str, Any], webhook_endpoint_id: UUID) -> Response:
    """List the deliveries to an endpoint, newest event first."""
    after, limit = paging.after(query.pop("cursor", None)), query["limit"]
    rows = webhooks().deliveries(g.merchant, str(webhook_endpoint_id), query, after, limit)
    return paging.page(rows, limit)


@blueprint.get("/<uuid:webhook_endpoint_id>/deliveries/<uuid:webhook_delivery_id>")
@requires("orders:read")
@blueprint.response(200, schemas.WholeDeliveryView)
def get_webhook_delivery(webhook_endpoint_id: UUID, webhook_delivery_id: UUID) -> Response:
    """Get a delivery with its attempts."""
    return answer(webhooks().delivery(g.merchant, str(webhook_endpoint_id), str(webhook_delivery_id))["body"])


@blueprint.post("/<uuid:webhook_endpoint_id>/deliveries/<uuid:webhook_delivery_id>/redeliver")
@requires("orders:write")
@blueprint.arguments(Nothing)
@facts("webhook-endpoint-disabled")
@blueprint.response(202, schemas.WholeDeliveryView)
def redeliver_webhook(_: dict[str, Any], webhook_endpoint_id: UUID, webhook_delivery_id: UUID) -> Response:
    """Send an event again with the same id, whether its delivery succeeded, is dead or is pending."""
    return _accepted(
        webhooks().redeliver(idempotency.claim(), str(webhook_endpoint_id), str(webhook_delivery_id)),
        webhook_endpoint_id,
    )


def _accepted(done: Done, webhook_endpoint_id: UUID) -> Response:
    return _answer(done, 202, {"Location": f"/v1/webhook-endpoints/{webhook_endpoint_id}/deliveries/{done.row['id']}"})
