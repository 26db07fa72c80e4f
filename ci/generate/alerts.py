"""The alerts of both services. `make dashboards` writes them to charts/<service>/files/rules/alerts.yaml.

Each alert has a section of its name in docs/runbook.md. `make monitoring` makes each alert fire; it shortens the times
with `faster`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from ci.generate.alert_texts import DESCRIPTIONS, UNITS

RUNBOOK = "docs/runbook.md"
"""The start of each runbook_url. The charts replace it by `metrics.rules.runbookUrl`, or leave the annotation out."""

PER = "namespace, tandem"
"""The labels that identify a service. Two installations may run in two namespaces."""

OBJECTIVE = 0.999
"""The objective: the share of requests that must not fail with a server error (5xx)."""

SLOW, SLOW_SHARE = 0.25, 0.01
"""A GET request is slow if it takes more than SLOW seconds; more than SLOW_SHARE slow ones raise an alert."""

# Burn rate, long window, short window, time before the alert fires, severity. Source: B. Beyer et al., "The Site
# Reliability Workbook", O'Reilly 2018, chapter 5, table 5-8. The row with a burn rate of 3 is an addition.
_BURN = (
    (14.4, "1h", "5m", "2m", "page"),
    (6, "6h", "30m", "15m", "page"),
    (3, "1d", "2h", "1h", "ticket"),
    (1, "3d", "6h", "3h", "ticket"),
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST = 10
"""Seconds. No window is shortened below this: it would contain too few samples."""


@dataclass(frozen=True, slots=True)
class _Alert:
    """An alerting rule. `SERVICE` is a label matcher in the expression, and the service's name in the summary."""

    name: str
    severity: str
    lasting: str
    expression: str
    summary: str


class _Times:
    """Converts durations such as 5m for Prometheus, divided by `faster`."""

    def __init__(self, faster: float) -> None:
        self._faster = faster

    def window(self, text: str) -> str:
        """Return the duration as the window of a range."""
        if self._faster == 1:
            return text
        return f"{max(_SHORTEST, round(self._seconds(text)))}s"

    def lasting(self, text: str) -> str:
        """Return the duration for which a condition must hold before the alert fires."""
        return text if self._faster == 1 else f"{max(1, round(self._seconds(text)))}s"

    def age(self, text: str) -> str:
        """Return the duration as seconds that an age is compared with."""
        return f"{max(_SHORTEST / 2, self._seconds(text)):g}"

    def _seconds(self, text: str) -> float:
        return int(text[:-1]) * _SECONDS[text[-1]] / self._faster


def text(service: str) -> str:
    """Return the rule file of `order` or `payment`."""
    body = yaml.safe_dump(groups(service), sort_keys=False, width=10_000, allow_unicode=True)
    publish = "# Replace docs/runbook.md by the URL where you publish it; the charts do so."
    return f"# Generated from ci/generate/alerts.py by `make dashboards`.\n{publish}\n{body}"


def groups(service: str, faster: float = 1) -> dict[str, Any]:
    """Return a service's rule groups in Prometheus' format, with times that are `faster` times shorter."""
    times = _Times(faster)
    own = {"order": _order, "payment": _payment}[service]
    alerts = [*_both(times), *own(times)]
    return {
        "groups": [
            {"name": f"tandem-{service}-objective", "rules": [*_recorded(service, times), *_burning(service, times)]},
            {"name": f"tandem-{service}", "rules": [_rule(service, alert, times) for alert in alerts]},
        ]
    }


def _recorded(service: str, times: _Times) -> Iterator[dict[str, Any]]:
    requests = f'http_requests_total{{tandem="{service}"'
    windows = dict.fromkeys(window for _, long, short, _, _ in _BURN for window in (short, long))
    for window in windows:
        span = times.window(window)
        failed = f'sum by ({PER}) (rate({requests},status=~"5.."}}[{span}]))'
        everything = f"sum by ({PER}) (rate({requests}}}[{span}]))"
        # Without errors the ratio must be 0, not absent: otherwise the graph is empty and an alert does not resolve.
        none = f"0 * {everything}"
        yield {"record": f"tandem:http_errors:ratio_rate{window}", "expr": f"({failed} or {none}) / {everything}"}


def _burning(service: str, times: _Times) -> Iterator[dict[str, Any]]:
    for burn, long, short, lasting, severity in _BURN:
        limit = f"> {burn:g} * {1 - OBJECTIVE:g}"
        both = " and ".join(
            f'tandem:http_errors:ratio_rate{window}{{tandem="{service}"}} {limit}' for window in (long, short)
        )
        summary = (
            f"{service} answered {{{{ $value | humanizePercentage }}}} of requests with a server error over {long}:"
            f" more than {burn:g} times what its objective of {OBJECTIVE:.1%} allows. The last {short} are no better."
        )
        rule = _rule(service, _Alert("TandemErrorBudgetBurn", severity, lasting, both, summary), times)
        rule["labels"]["window"] = long
        yield rule


def _rule(service: str, alert: _Alert, times: _Times) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression.replace("SERVICE", f'tandem="{service}"'),
        "for": times.lasting(alert.lasting),
        "labels": {"severity": alert.severity, "tandem": service},
        "annotations": {
            "summary": alert.summary.replace("SERVICE", service),
            "description": DESCRIPTIONS[alert.name],
            "unit": UNITS[alert.name],
            "runbook_url": f"{RUNBOOK}#{alert.name.lower()}",
        },
    }


def _both(times: _Times) -> list[_Alert]:
    reads = 'SERVICE,method="GET"'
    five, hour = times.window("5m"), times.window("1h")

    def slow(span: str) -> str:
        quick = f'rate(http_request_duration_seconds_bucket{{{reads},le="{SLOW}"}}[{span}])'
        everything = f"rate(http_request_duration_seconds_count{{{reads}}}[{span}])"
        return f"1 - sum by ({PER}) ({quick}) / sum by ({PER}) ({everything}) > {SLOW_SHARE}"

    beat = f"max by ({PER}, instance, loop) (loop_beat_timestamp_seconds{{SERVICE}})"
    unreachable = f'rate(outbox_deliveries_total{{SERVICE,outcome="unreachable"}}[{five}])'
    # The pods of the publisher have build_info, too, and serve nobody. (On a laptop it shares a target with the relay.)
    beats = [f'loop_beat_timestamp_seconds{{SERVICE,loop="{loop}"}}' for loop in ("publisher", "relay")]
    publishers = f" unless on ({PER}, instance) ".join(beats)
    pods = f"build_info{{SERVICE}} unless on ({PER}, instance) ({publishers})"
    known = f"group by ({PER}) (present_over_time(build_info{{SERVICE}}[{times.window('1d')}]))"
    return [
        _Alert(
            "TandemSlow",
            "ticket",
            "5m",
            f"{slow(hour)} and {slow(five)}",
            f"{{{{ $value | humanizePercentage }}}} of GET requests to SERVICE take more than {SLOW} s.",
        ),
        _Alert(
            "TandemGone",
            "page",
            "5m",
            f"{known} unless on ({PER}) ({pods}) or on () absent({pods})",
            "Prometheus scrapes no pod of SERVICE{{ with $labels.namespace }} in the namespace {{ . }}{{ end }}.",
        ),
        _Alert(
            "TandemDatabaseDown",
            "page",
            "1m",
            f"min by ({PER}) (database_up{{SERVICE}}) == 0",
            "At least one pod of SERVICE cannot reach its database.",
        ),
        _Alert(
            "TandemRelayNotRunning",
            "page",
            "1m",
            f"time() - {beat} > {times.age('2m')} or on ({PER}, instance)"
            f" (max by ({PER}, instance) (database_up{{SERVICE}})"
            f" unless on ({PER}, instance) loop_beat_timestamp_seconds{{SERVICE}})",
            "The relay of SERVICE at {{ $labels.instance }} is not running{{ if $labels.loop }}: its loop"
            " {{ $labels.loop }} is stuck{{ end }}.",
        ),
        _Alert(
            "TandemOutboxStuck",
            "page",
            "5m",
            f"max by ({PER}, topic) (outbox_oldest_seconds{{SERVICE}}) > {times.age('5m')}",
            "A {{ $labels.topic }} message of SERVICE has not been delivered for {{ $value | humanizeDuration }}.",
        ),
        _Alert(
            "TandemBreakerOpen",
            "page",
            "5m",
            f"max by ({PER}, destination) (breaker_open{{SERVICE}}) == 1"
            f" and on ({PER}) sum by ({PER}) ({unreachable}) > 0",
            "SERVICE cannot reach {{ $labels.destination }}: its circuit breaker is open.",
        ),
    ]


def _order(times: _Times) -> list[_Alert]:
    waiting = 'orders_oldest_seconds{SERVICE,status=~"pending_payment|canceling"}'
    age = times.age("15m")
    dead = 'webhook_deliveries{SERVICE,status="dead"}'
    return [
        _Alert(
            "TandemOrdersWaiting",
            "page",
            "5m",
            f"max by ({PER}, status) ({waiting}) > {age} or max by ({PER}) (refunds_oldest_seconds{{SERVICE}}) > {age}",
            "{{ if $labels.status }}An order in {{ $labels.status }}{{ else }}A refund{{ end }} has waited"
            " {{ $value | humanizeDuration }} for its outcome.",
        ),
        _Alert(
            "TandemOrphanPayments",
            "page",
            "5m",
            f"max by ({PER}) (orphan_payments{{SERVICE}}) > 0"
            f" and max by ({PER}) (orphan_payments_oldest_seconds{{SERVICE}}) > {age}",
            "{{ $value | humanize }} payments hold or may hold money and name an order that does not exist.",
        ),
        _Alert(
            "TandemEventsDelayed",
            "ticket",
            "1m",
            f"max by ({PER}) (events_delay_seconds{{SERVICE}}) > {times.age('5m')}",
            "A transaction that has run for {{ $value | humanizeDuration }} delays the feed of events.",
        ),
        _Alert(
            "TandemEventsUnpublished",
            "ticket",
            "5m",
            f"max by ({PER}) (events_unpublished_oldest_seconds{{SERVICE}}) > {times.age('5m')}",
            "The broker has not acknowledged an event for {{ $value | humanizeDuration }}.",
        ),
        _Alert(
            "TandemWebhooksDead",
            "ticket",
            "0m",
            # The fewest of the hour as any pod saw it, because the pods of now may not have run for an hour.
            f"max by ({PER}) ({dead}) - on ({PER}) min by ({PER}) (min_over_time({dead}[{times.window('1h')}])) > 0",
            "{{ $value | humanize }} webhooks became dead in the last hour; they are not retried.",
        ),
        _Alert(
            "TandemWebhooksLate",
            "ticket",
            "5m",
            f"max by ({PER}) (webhook_oldest_seconds{{SERVICE}}) > {times.age('1h')}",
            "A webhook to a merchant's endpoint has not been delivered for {{ $value | humanizeDuration }}.",
        ),
    ]


def _payment(times: _Times) -> list[_Alert]:
    five, fifteen, hour = times.window("5m"), times.window("15m"), times.window("1h")

    def share(part: str, metric: str, of: str, span: str) -> str:
        return (
            f"sum by ({PER}) (rate({metric}{{{of},{part}}}[{span}])) / sum by ({PER}) (rate({metric}{{{of}}}[{span}]))"
        )

    unknown = share('outcome="unknown"', "provider_call_seconds_count", "SERVICE", five)
    declined = share('result="declined"', "operations_total", 'SERVICE,kind=~"sale|authorize"', fifteen)
    latency = f"sum by ({PER}, le) (rate(provider_call_seconds_bucket{{SERVICE}}[{five}]))"
    return [
        _Alert(
            "TandemOperationsStuck",
            "page",
            "5m",
            f"max by ({PER}) (operations_oldest_seconds{{SERVICE}}) > {times.age('10m')}",
            "The outcome of an operation at the provider has been unknown for {{ $value | humanizeDuration }}.",
        ),
        _Alert(
            "TandemProviderFailing",
            "page",
            "5m",
            f"{unknown} > 0.1",
            "{{ $value | humanizePercentage }} of calls to the provider end without a known outcome.",
        ),
        _Alert(
            "TandemProviderSlow",
            "ticket",
            "10m",
            f"histogram_quantile(0.9, {latency}) > 1",
            "10% of calls to the provider take more than {{ $value | humanizeDuration }}.",
        ),
        _Alert(
            "TandemDeclines",
            "ticket",
            "15m",
            f"{declined} > 0.5",
            "{{ $value | humanizePercentage }} of payments are declined.",
        ),
        _Alert(
            "TandemMoneyChanged",
            "ticket",
            "0m",
            f"sum by ({PER}, kind) (increase(provider_changes_total{{SERVICE}}[{hour}])) > 0",
            "Settled money has changed at the provider within the last hour: {{ $labels.kind }}.",
        ),
    ]
