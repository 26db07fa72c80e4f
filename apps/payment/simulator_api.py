"""The API for the faults of the simulated provider. It needs a key with the scope `merchants:any`."""

from __future__ import annotations

from typing import Any

from flask import Response

from chassis.auth.keyring import requires
from chassis.http.answers import answer
from chassis.http.blueprint import Blueprint
from chassis.http.facts import facts
from chassis.service import service
from payment import schemas
from payment.providers.faults import Faults
from payment.service import Payments

blueprint = Blueprint(
    "simulator", __name__, url_prefix="/v1/simulator", description="Faults of the simulated payment provider"
)


def payments() -> Payments:
    """Return the use cases of the current application."""
    found: Payments = service().use_cases["payments"]
    return found


@blueprint.get("/faults")
@requires("merchants:any")
@facts("not-found")
@blueprint.response(200, schemas.FaultsView)
def get_simulator_faults() -> Response:
    """Get the faults of the simulated payment provider.

    The response is 404 with a real provider.
    """
    return answer(payments().provider_controls.faults()["body"])


@blueprint.put("/faults")
@requires("merchants:any")
@requires("payments:write")
@blueprint.arguments(schemas.Faults)
@facts("not-found")
@blueprint.response(200, schemas.FaultsView)
def set_simulator_faults(wanted: dict[str, Any]) -> Response:
    """Set the faults of the simulated payment provider.

    They stay until they are set again; a fault that is left out is off. Faults affect the payments of all merchants,
    and pending operations are retried at once. The key also needs `payments:write`. The response is 404 with a real
    provider.
    """
    return answer(payments().provider_controls.set_faults(Faults(**wanted))["body"])
