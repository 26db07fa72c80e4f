"""The payment service's own metrics."""

from __future__ import annotations

from chassis.telemetry import metrics

provider_seconds = metrics.latency("provider_call_seconds", "Time of one call to the provider.", ["kind", "outcome"])
operations = metrics.counter("operations_total", "Operations settled with the provider.", ["kind", "result"])
money = metrics.counter("money_minor_units_total", "Money moved, in minor units.", ["kind", "currency"])
ledger = metrics.counter(
    "ledger_minor_units_total", "Entries made, in minor units.", ["account", "direction", "currency"]
)
