"""Dashboards and alerts, written into the charts (`make dashboards`; `--check` only compares).

`service.json` is about the requests of one service and what it stands on, in the chart of each; `money.json` about
orders and payments on their way through both, in order's chart.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ci import alerts
from ci.panels import Panel, page
from ci.state import ROOT

SERVICES = ("order", "payment")


def texts() -> dict[Path, str]:
    """What each file has to be, by its path."""
    made = {}
    for service in SERVICES:
        files = ROOT / "charts" / service / "files"
        made[files / "rules" / "alerts.yaml"] = alerts.text(service)
        made[files / "dashboards" / "service.json"] = _service(service)
    made[ROOT / "charts" / "order" / "files" / "dashboards" / "money.json"] = _money()
    return made


def stale() -> dict[Path, str]:
    """The files that are not what this makes of them, with what they have to be."""
    return {path: text for path, text in texts().items() if not path.exists() or path.read_text() != text}


def _rate(metric: str, of: str) -> str:
    return f"rate({metric}{{{of}}}[$__rate_interval])"


def _service(service: str) -> str:
    of = f'tandem="{service}",namespace=~"$namespace"'
    rows = {"Requests": _requests(of), "What it stands on": _ground(of)}
    about = f"Requests of the {service} service, and what it stands on."
    return page(
        f"tandem-{service}",
        f"Tandem: {service}",
        about,
        rows,
        f'label_values(build_info{{tandem="{service}"}}, namespace)',
    )


def _requests(of: str) -> list[Panel]:
    took = "http_request_duration_seconds"
    rate = _rate("http_requests_total", of)
    errors = f'rate(http_requests_total{{{of},status=~"5.."}}[$__rate_interval])'
    quantile = "histogram_quantile({}, sum by (le) (rate({}_bucket{{{}}}[$__rate_interval])))"
    return [
        Panel("Requests", "Answers in a second.", "reqps", {"requests": f"sum({rate})"}, number=True, share=1 / 4),
        Panel(
            "Errors",
            "Share of answers that are an error of ours (5xx), over 5 minutes.",
            "percentunit",
            {"errors": f"max(tandem:http_errors:ratio_rate5m{{{of}}})"},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Error budget used",
            f"Share of what the objective of {alerts.OBJECTIVE:.1%} allows, over 3 days: at 100% it is used up.",
            "percentunit",
            {"used": f"max(tandem:http_errors:ratio_rate3d{{{of}}}) / {1 - alerts.OBJECTIVE:g}"},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Slowest in a hundred",
            "99 of 100 requests are answered within this time.",
            "s",
            {"p99": quantile.format(0.99, took, of)},
            number=True,
            share=1 / 4,
        ),
        Panel(
            "Requests by route",
            "Answers in a second.",
            "reqps",
            {"{{method}} {{route}}": f"sum by (method, route) ({rate})"},
        ),
        Panel(
            "Answers by status",
            "Answers in a second.",
            "reqps",
            {"{{status}}": f"sum by (status) ({rate})"},
            stacked=True,
        ),
        Panel(
            "Errors by route",
            "5xx in a second.",
            "reqps",
            {"{{method}} {{route}}": f"sum by (method, route) ({errors})"},
        ),
        Panel(
            "Time to answer",
            "Half, 95 and 99 of 100 requests are answered within these times.",
            "s",
            {f"p{share:g}": quantile.format(share / 100, took, of) for share in (50, 95, 99)},
        ),
        Panel(
            "Time to answer by route (p95)",
            "95 of 100 requests of a route are answered within this time; callers may choose to wait.",
            "s",
            {
                "{{method}} {{route}}": "histogram_quantile(0.95, sum by (le, method, route)"
                f" ({_rate(f'{took}_bucket', of)}))"
            },
        ),
        Panel(
            "Too slow",
            f"Share of GETs that take more than {alerts.SLOW} s.",
            "percentunit",
            {
                "slow": f'1 - sum(rate({took}_bucket{{{of},method="GET",le="{alerts.SLOW}"}}[$__rate_interval]))'
                f' / sum(rate({took}_count{{{of},method="GET"}}[$__rate_interval]))'
            },
        ),
    ]


def _ground(of: str) -> list[Panel]:
    return [
        Panel(
            "Database",
            "1 while it answers the pods.",
            "none",
            {"{{instance}}": f"database_up{{{of}}}"},
        ),
        Panel(
            "Connections",
            "To the database, of all pods, by what they do.",
            "none",
            {"{{application}} {{state}}": f"max by (application, state) (database_connections{{{of}}})"},
            stacked=True,
        ),
        Panel(
            "Breakers",
            "1 while a pod takes the other service to be down.",
            "none",
            {"{{destination}} from {{instance}}": f"breaker_open{{{of}}}"},
        ),
        Panel(
            "Loops of the relay",
            "For how long each has not come round.",
            "s",
            {"{{loop}} {{instance}}": f"time() - max by (instance, loop) (loop_beat_timestamp_seconds{{{of}}})"},
        ),
        Panel(
            "Deliveries",
            "Attempts to deliver a row of the outbox, in a second.",
            "ops",
            {"{{topic}} {{outcome}}": f"sum by (topic, outcome) ({_rate('outbox_deliveries_total', of)})"},
        ),
        Panel(
            "Builds",
            "Pods by what runs in them.",
            "none",
            {"{{version}}, Python {{python}}": f"count by (version, python) (build_info{{{of}}})"},
        ),
    ]


def _money() -> str:
    order, payment = (f'tandem="{service}",namespace=~"$namespace"' for service in SERVICES)
    rows = {
        "Stuck": _stuck(order, payment),
        "Orders and payments": _flow(order, payment),
        "Provider and money": _provider(payment),
        "Merchants' webhooks": _webhooks(order),
    }
    about = "Orders and payments on their way through both services, what is stuck, and the money."
    return page(
        "tandem-money", "Tandem: money flow", about, rows, 'label_values(build_info{tandem="order"}, namespace)'
    )


def _stuck(order: str, payment: str) -> list[Panel]:
    oldest = {
        "Oldest order": ("waits for a payment or a cancel", f'orders_oldest_seconds{{{order},status!="authorized"}}'),
        "Oldest refund": ("of an order waits for its outcome", f"refunds_oldest_seconds{{{order}}}"),
        "Oldest operation": ("has no known outcome at the provider", f"operations_oldest_seconds{{{payment}}}"),
        "Oldest to payment": ("waits in order's outbox", f"outbox_oldest_seconds{{{order}}}"),
        "Oldest to order": ("waits in payment's outbox", f"outbox_oldest_seconds{{{payment}}}"),
        "Oldest webhook": ("waits for a merchant's endpoint", f"webhook_oldest_seconds{{{order}}}"),
    }
    return [
        Panel(title, f"For how long the oldest {what}.", "s", {"age": f"max({query})"}, number=True, share=1 / 6)
        for title, (what, query) in oldest.items()
    ]


def _flow(order: str, payment: str) -> list[Panel]:
    both = 'tandem=~"order|payment",namespace=~"$namespace"'

    def moves(of: str, kind: str) -> str:
        return f'sum by (to) (rate(state_transitions_total{{{of},kind="{kind}"}}[$__rate_interval])) * 60'

    return [
        Panel(
            "Orders by state", "Orders that come into a state, in a minute.", "none", {"{{to}}": moves(order, "order")}
        ),
        Panel(
            "Orders that wait",
            "Orders that are in a state now which they do not end in.",
            "none",
            {
                "{{status}}": f"max by (status) (orders_waiting{{{order}}})",
                "refund": f"max(refunds_pending{{{order}}})",
            },
            stacked=True,
        ),
        Panel(
            "Payments by outcome",
            "Payments that come into a state, in a minute.",
            "none",
            {"{{to}}": moves(payment, "payment")},
        ),
        Panel(
            "Outboxes",
            "Rows that are not delivered yet.",
            "none",
            {
                f"{{{{topic}}}} from {service}": f"max by (topic) (outbox_depth{{{of}}})"
                for service, of in (("order", order), ("payment", payment))
            },
        ),
        Panel(
            "Age in the outboxes",
            "For how long the oldest row has waited.",
            "s",
            {
                f"{{{{topic}}}} from {service}": f"max by (topic) (outbox_oldest_seconds{{{of}}})"
                for service, of in (("order", order), ("payment", payment))
            },
        ),
        Panel(
            "Time to deliver (p95)",
            "95 of 100 attempts of a topic take less; of payment.create, that is the time to have an order paid.",
            "s",
            {
                "{{topic}}": "histogram_quantile(0.95, sum by (le, topic)"
                f" ({_rate('outbox_delivery_seconds_bucket', both)}))"
            },
        ),
    ]


def _provider(payment: str) -> list[Panel]:
    moved = "money_minor_units_total"
    return [
        Panel(
            "Provider's time (p95)",
            "95 of 100 calls with an outcome take less.",
            "s",
            {
                "{{kind}} {{outcome}}": "histogram_quantile(0.95, sum by (le, kind, outcome)"
                f" ({_rate('provider_call_seconds_bucket', payment)}))"
            },
        ),
        Panel(
            "Calls to the provider",
            "In a minute, by what came of them; unknown is asked again.",
            "none",
            {"{{outcome}}": f"sum by (outcome) ({_rate('provider_call_seconds_count', payment)}) * 60"},
            stacked=True,
        ),
        Panel(
            "Operations",
            "Settled in a minute, and how many have no known outcome now.",
            "none",
            {
                "{{kind}} {{result}}": f"sum by (kind, result) ({_rate('operations_total', payment)}) * 60",
                "pending now": f"max(operations_pending{{{payment}}})",
            },
        ),
        Panel(
            "Captured",
            "In minor units, over the time that is shown.",
            "none",
            {"{{currency}}": f'sum by (currency) (increase({moved}{{{payment},kind=~"sale|capture"}}[$__range]))'},
            number=True,
        ),
        Panel(
            "Refunded",
            "In minor units, over the time that is shown.",
            "none",
            {"{{currency}}": f'sum by (currency) (increase({moved}{{{payment},kind="refund"}}[$__range]))'},
            number=True,
        ),
        Panel(
            "Ledger",
            "Debits less credits, in minor units, over the time that is shown. All accounts of a currency sum to zero.",
            "none",
            {
                "{{account}} {{currency}}": "sum by (account, currency)"
                f' (increase(ledger_minor_units_total{{{payment},direction="debit"}}[$__range])) - sum by'
                f' (account, currency) (increase(ledger_minor_units_total{{{payment},direction="credit"}}[$__range]))'
            },
            number=True,
        ),
    ]


def _webhooks(order: str) -> list[Panel]:
    return [
        Panel(
            "Webhooks",
            "What waits to be delivered, and what nobody tries any more.",
            "none",
            {"{{status}}": f"max by (status) (webhook_deliveries{{{order}}})"},
        ),
        Panel(
            "Attempts",
            "In a minute, by what came of them.",
            "none",
            {
                "{{outcome}}": "sum by (outcome)"
                f' (rate(outbox_deliveries_total{{{order},topic="webhook"}}[$__rate_interval])) * 60'
            },
        ),
        Panel(
            "Endpoints' time (p95)",
            "95 of 100 attempts take less.",
            "s",
            {
                "p95": "histogram_quantile(0.95, sum by (le)"
                f' (rate(outbox_delivery_seconds_bucket{{{order},topic="webhook"}}[$__rate_interval])))'
            },
        ),
    ]


def main() -> None:
    """Write what is stale, or with `--check` fail and name it."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if "--check" in sys.argv[1:] and found:
        sys.exit("These differ from what ci/dashboards.py makes: write them with `make dashboards`")


if __name__ == "__main__":
    main()
