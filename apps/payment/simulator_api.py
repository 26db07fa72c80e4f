"""The simulator's switches, over HTTP: there while the provider is the simulator, and for keys of all merchants."""

from __future__ import annotations

from typing import Any

from flask import Response

from chassis.auth.keyring import requires
from chassis.http import parsing
from chassis.http.answers import answer
from chassis.openapi import document as openapi
from chassis.service import service
from payment import schemas
from payment.providers.faults import Faults
from payment.service import Payments

blueprint = parsing.Blueprint(
    "simulator", __name__, url_prefix="/v1/simulator", description="Faults of the simulated payment provider"
)


def payments() -> Payments:
    """The use cases, on this application's database."""
    found: Payments = service().use_cases["payments"]
    return found


@blueprint.get("/faults")
@requires("merchants:any")
@openapi.facts("not-found")
@blueprint.response(200, schemas.FaultsView)
def get_simulator_faults() -> Response:
    """Show which faults the simulator is told to have; 404 with a real provider."""
    return answer(payments().faults()["body"])


@blueprint.put("/faults")
@requires("merchants:any")
@requires("payments:write")
@blueprint.arguments(schemas.Faults)
@openapi.facts("not-found")
@blueprint.response(200, schemas.FaultsView)
def set_simulator_faults(wanted: dict[str, Any]) -> Response:
    """Tell the simulator which faults to have, until told otherwise; what is left out is off.

    They concern the payments of all merchants, and their operations that wait are tried again at once. The key
    needs `payments:write` besides. With a real provider, 404.
    """
    return answer(payments().switch_faults(Faults(**wanted))["body"])
