"""The dashboard of money: orders and payments on their way through both services."""

from __future__ import annotations

from collections.abc import Callable

from ci.generate.panels import Panel, page
from ci.generate.promql import installed, quantile, rate

ORDER, PAYMENT = (f'tandem="{service}",namespace=~"$namespace"' for service in ("order", "payment"))
BOTH = 'tandem=~"order|payment",namespace=~"$namespace"'
MONEY, LEDGER = "money_minor_units_total", "ledger_minor_units_total"


def text() -> str:
    """Return the dashboard as Grafana's JSON."""
    return page(
        "tandem-money",
        "Tandem: money flow",
        "Orders and payments on their way through both services, what is stuck, and the money moved.",
        {
            "Stuck": _stuck(),
            "Orders and payments": _flow(),
            "Provider and money": _provider(),
            "Merchants' webhooks": _webhooks(),
            "Events to the broker": _broker(),
        },
        'label_values(build_info{tandem="order"}, namespace)',
    )


def _stuck() -> list[Panel]:
    oldest = {
        "Oldest order": (
            "order has waited for its outcome",
            f'orders_oldest_seconds{{{ORDER},status!="authorized"}}',
        ),
        "Oldest refund": ("refund of an order has waited for its outcome", f"refunds_oldest_seconds{{{ORDER}}}"),
        "Oldest operation": ("operation has had no known outcome", f"operations_oldest_seconds{{{PAYMENT}}}"),
        "Oldest to payment": ("row has waited in order's outbox", f"outbox_oldest_seconds{{{ORDER}}}"),
        "Oldest to order": ("row has waited in payment's outbox", f"outbox_oldest_seconds{{{PAYMENT}}}"),
        "Oldest webhook": ("webhook has waited for a merchant's endpoint", f"webhook_oldest_seconds{{{ORDER}}}"),
    }
    return [
        Panel(title, f"How long the oldest {what}.", "s", {"age": f"max({query})"}, number=True, share=1 / 6)
        for title, (what, query) in oldest.items()
    ]


def _transitions(labels: str, kind: str) -> str:
    selected = f'{labels},kind="{kind}"'
    return f"sum by (to) ({rate('state_transitions_total', selected)}) * 60"


def _outboxes(numbers: Callable[[str], str]) -> dict[str, str]:
    """Return queries by topic for both outboxes. `numbers` makes the query from the labels of a service."""
    return {
        f"{{{{topic}}}} from {service}": numbers(labels) for service, labels in (("order", ORDER), ("payment", PAYMENT))
    }


def _flow() -> list[Panel]:
    return [
        Panel(
            "Orders by state",
            "Orders that enter a state, per minute.",
            "none",
            {"{{to}}": _transitions(ORDER, "order")},
        ),
        Panel(
            "Waiting orders",
            "Orders that are in a non-final state now, and orders with a pending refund.",
            "none",
            {
                "{{status}}": installed(f"orders_waiting{{{ORDER}}}", "status"),
                "refund": installed(f"refunds_pending{{{ORDER}}}"),
            },
            stacked=True,
        ),
        Panel(
            "Payments without an order",
            "Payments that hold or may hold money and name an order that does not exist.",
            "none",
            {"payments": installed(f"orphan_payments{{{ORDER}}}")},
        ),
        Panel(
            "Money without an order",
            "What these payments hold or may hold, in minor units.",
            "none",
            {"{{currency}}": installed(f"orphan_payments_held_minor_units{{{ORDER}}}", "currency")},
        ),
        Panel(
            "Payments by outcome",
            "Payments that enter a state, per minute.",
            "none",
            {"{{to}}": _transitions(PAYMENT, "payment")},
        ),
        Panel(
            "Outboxes",
            "Undelivered rows.",
            "none",
            _outboxes(lambda labels: installed(f"outbox_depth{{{labels}}}", "topic")),
        ),
        Panel(
            "Age in the outboxes",
            "Age of the oldest undelivered row.",
            "s",
            _outboxes(lambda labels: f"max by (topic) (outbox_oldest_seconds{{{labels}}})"),
        ),
        Panel(
            "Time to deliver (p95)",
            "95% of the attempts of a topic take less. For payment.create, this is the time to pay an order.",
            "s",
            {"{{topic}}": quantile(0.95, "outbox_delivery_seconds", BOTH, "topic")},
        ),
    ]


def _provider() -> list[Panel]:
    return [
        Panel(
            "Provider's time (p95)",
            "95% of the calls with this outcome take less.",
            "s",
            {"{{kind}} {{outcome}}": quantile(0.95, "provider_call_seconds", PAYMENT, "kind", "outcome")},
        ),
        Panel(
            "Calls to the provider",
            "Calls per minute, by outcome. Calls with an unknown outcome are retried.",
            "none",
            {"{{outcome}}": f"sum by (outcome) ({rate('provider_call_seconds_count', PAYMENT)}) * 60"},
            stacked=True,
        ),
        Panel(
            "Operations",
            "Operations settled per minute, and the number that have no known outcome now.",
            "none",
            {
                "{{kind}} {{result}}": f"sum by (kind, result) ({rate('operations_total', PAYMENT)}) * 60",
                "pending now": installed(f"operations_pending{{{PAYMENT}}}"),
            },
        ),
        Panel(
            "Captured",
            "Minor units captured in the selected time range.",
            "none",
            {"{{currency}}": f'sum by (currency) (increase({MONEY}{{{PAYMENT},kind=~"sale|capture"}}[$__range]))'},
            number=True,
        ),
        Panel(
            "Refunded",
            "Minor units refunded in the selected time range.",
            "none",
            {"{{currency}}": f'sum by (currency) (increase({MONEY}{{{PAYMENT},kind="refund"}}[$__range]))'},
            number=True,
        ),
        Panel(
            "Ledger",
            "Debits minus credits in the selected time range, in minor units. The accounts of a currency sum to zero.",
            "none",
            {
                "{{account}} {{currency}}": "sum by (account, currency)"
                f' (increase({LEDGER}{{{PAYMENT},direction="debit"}}[$__range])) - sum by'
                f' (account, currency) (increase({LEDGER}{{{PAYMENT},direction="credit"}}[$__range]))'
            },
            number=True,
        ),
    ]


def _broker() -> list[Panel]:
    return [
        Panel(
            "Oldest event to publish",
            "How long the oldest event has waited for the broker's acknowledgement. Empty if no publisher has run.",
            "s",
            {"age": f"max(events_unpublished_oldest_seconds{{{ORDER}}})"},
        ),
        Panel(
            "Published events",
            "Events per minute that the broker acknowledged, or did not.",
            "none",
            {"{{outcome}}": f"sum by (outcome) ({rate('events_published_total', ORDER)}) * 60"},
        ),
        Panel(
            "Consumers of the broker",
            "Events that each consumer of the broker has not acknowledged.",
            "none",
            {"{{consumer}}": f"max by (consumer) (events_consumer_pending{{{ORDER}}})"},
        ),
    ]


def _webhooks() -> list[Panel]:
    webhooks = f'{ORDER},topic="webhook"'
    return [
        Panel(
            "Webhooks",
            "Webhooks that wait to be delivered, and dead ones, which are not retried.",
            "none",
            {"{{status}}": installed(f"webhook_deliveries{{{ORDER}}}", "status")},
        ),
        Panel(
            "Attempts",
            "Delivery attempts per minute, by outcome.",
            "none",
            {"{{outcome}}": f"sum by (outcome) ({rate('outbox_deliveries_total', webhooks)}) * 60"},
        ),
        Panel(
            "Endpoints' time (p95)",
            "95% of delivery attempts take less.",
            "s",
            {"p95": quantile(0.95, "outbox_delivery_seconds", webhooks)},
        ),
    ]
