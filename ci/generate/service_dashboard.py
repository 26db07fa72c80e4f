"""The dashboard of one service: its requests and its dependencies."""

from __future__ import annotations

from ci.generate import alerts
from ci.generate.panels import Panel, page
from ci.generate.promql import installed, quantile, rate

REQUESTS, DURATION = "http_requests_total", "http_request_duration_seconds"


def text(service: str) -> str:
    """Return the dashboard of `order` or `payment` as Grafana's JSON."""
    labels = f'tandem="{service}",namespace=~"$namespace"'
    return page(
        f"tandem-{service}",
        f"Tandem: {service}",
        f"Requests and dependencies of the {service} service.",
        {"Requests": [*_totals(labels), *_requests(labels)], "Dependencies": _dependencies(labels)},
        f'label_values(build_info{{tandem="{service}"}}, namespace)',
    )


def _totals(labels: str) -> list[Panel]:
    return [
        Panel(
            "Requests",
            "Requests per second.",
            "reqps",
            {"requests": f"sum({rate(REQUESTS, labels)})"},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Errors",
            "Share of requests that failed with a server error (5xx) in the last 5 minutes.",
            "percentunit",
            {"errors": f"max(tandem:http_errors:ratio_rate5m{{{labels}}})"},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Error budget used",
            f"Share of the error budget that was used in the last 3 days. The objective is {alerts.OBJECTIVE:.1%}.",
            "percentunit",
            {"used": f"max(tandem:http_errors:ratio_rate3d{{{labels}}}) / {1 - alerts.OBJECTIVE:g}"},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Time to answer (p99)",
            "99% of requests are answered within this time.",
            "s",
            {"p99": quantile(0.99, DURATION, labels)},
            number=True,
            share=1 / 4,
        ),
    ]


def _requests(labels: str) -> list[Panel]:
    failed, reads = f'{labels},status=~"5.."', f'{labels},method="GET"'
    fast = rate(f"{DURATION}_bucket", f'{reads},le="{alerts.SLOW}"')
    return [
        Panel(
            "Requests by route",
            "Requests per second.",
            "reqps",
            {"{{method}} {{route}}": f"sum by (method, route) ({rate(REQUESTS, labels)})"},
        ),
        Panel(
            "Answers by status",
            "Responses per second.",
            "reqps",
            {"{{status}}": f"sum by (status) ({rate(REQUESTS, labels)})"},
            stacked=True,
        ),
        Panel(
            "Errors by route",
            "5xx responses per second.",
            "reqps",
            {"{{method}} {{route}}": f"sum by (method, route) ({rate(REQUESTS, failed)})"},
        ),
        Panel(
            "Time to answer",
            "50%, 95% and 99% of requests are answered within these times.",
            "s",
            {f"p{percent}": quantile(percent / 100, DURATION, labels) for percent in (50, 95, 99)},
        ),
        Panel(
            "Time to answer by route (p95)",
            "95% of the requests to a route are answered within this time. It includes the time that callers asked to"
            " wait (Prefer: wait).",
            "s",
            {"{{method}} {{route}}": quantile(0.95, DURATION, labels, "method", "route")},
        ),
        Panel(
            "Slow reads",
            f"Share of GET requests that take more than {alerts.SLOW} s.",
            "percentunit",
            {"slow": f"1 - sum({fast}) / sum({rate(f'{DURATION}_count', reads)})"},
        ),
    ]


def _dependencies(labels: str) -> list[Panel]:
    return [
        Panel(
            "Database",
            "1 if the pod reaches the database, 0 if it does not.",
            "none",
            {"{{instance}}": f"database_up{{{labels}}}"},
        ),
        Panel(
            "Connections",
            "Connections of all pods to the database, by application and state.",
            "none",
            {"{{application}} {{state}}": installed(f"database_connections{{{labels}}}", "application", "state")},
            stacked=True,
        ),
        Panel(
            "Replica behind (time)",
            "Age of the last transaction that the replica for reads has applied; 0 if it has all."
            " Empty without a replica.",
            "s",
            {"{{instance}}": f"replica_lag_seconds{{{labels}}}"},
        ),
        Panel(
            "Replica behind (bytes)",
            "Write-ahead log that the replica for reads has not applied yet. Empty without a replica.",
            "bytes",
            {"{{instance}}": f"replica_lag_bytes{{{labels}}}"},
        ),
        Panel(
            "Circuit breakers",
            "1 while a pod's circuit breaker for the other service is open.",
            "none",
            {"{{destination}} from {{instance}}": f"breaker_open{{{labels}}}"},
        ),
        Panel(
            "Relay loops",
            "Seconds since each loop last completed a pass.",
            "s",
            {"{{loop}} {{instance}}": f"time() - max by (instance, loop) (loop_beat_timestamp_seconds{{{labels}}})"},
        ),
        Panel(
            "Deliveries",
            "Attempts to deliver an outbox row, per second.",
            "ops",
            {"{{topic}} {{outcome}}": f"sum by (topic, outcome) ({rate('outbox_deliveries_total', labels)})"},
        ),
        Panel(
            "Builds",
            "Pods by Tandem and Python version.",
            "none",
            {"{{version}}, Python {{python}}": f"count by (version, python) (build_info{{{labels}}})"},
        ),
    ]
