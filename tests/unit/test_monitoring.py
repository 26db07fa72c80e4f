"""Dashboards, alerts, the runbook and the documentation are consistent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ci import ROOT
from ci.generate import alerts, dashboards, files

SERVICES = ("order", "payment")
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")


def rules(service: str) -> list[dict[str, Any]]:
    return [rule for group in alerts.groups(service)["groups"] for rule in group["rules"]]


def names(*services: str) -> set[str]:
    return {rule["alert"] for service in services or SERVICES for rule in rules(service) if "alert" in rule}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression of all rules and dashboards, with its file."""
    for path, text in dashboards.texts().items():
        if path.suffix == ".json":
            for panel in json.loads(text)["panels"]:
                yield from ((str(path), target["expr"]) for target in panel.get("targets", []))
        else:
            for group in yaml.safe_load(text)["groups"]:
                yield from ((str(path), rule["expr"]) for rule in group["rules"])


def test_the_committed_files_are_up_to_date() -> None:
    assert not [str(path) for path in files.stale(dashboards.texts())], "to regenerate them: make dashboards"
    made = set(dashboards.texts())
    assert made == {*ROOT.glob("charts/*/files/rules/*"), *ROOT.glob("charts/*/files/dashboards/*")}


def test_alerts_and_sections_of_the_runbook_correspond() -> None:
    sections = re.split(r"^## ", (ROOT / alerts.RUNBOOK).read_text(), flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert sorted(titles) == sorted(names())
    for title, section in zip(titles, sections, strict=True):
        found = re.findall(r"^\*\*(\w+)\.\*\* \S", section, flags=re.MULTILINE)
        assert found == ["Cause", "Check", "Cure"], title


def test_the_commands_of_the_runbook_go_to_the_cluster() -> None:
    """Without --cluster, they would list and change what a laptop has."""
    commands = re.findall(r"\./tandem-admin (.+)", (ROOT / alerts.RUNBOOK).read_text())
    assert len(commands) >= 8
    assert [command for command in commands if not command.startswith("--cluster ")] == []


@pytest.mark.parametrize("service", SERVICES)
def test_each_alert_has_a_severity_and_a_link_to_its_section(service: str) -> None:
    for rule in rules(service):
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
            assert rule["labels"]["tandem"] == service
            if rule["alert"] in names("order") & names("payment"):
                assert service in rule["annotations"]["summary"]
            assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
            assert len(rule["annotations"]["description"]) > 40
            assert rule["annotations"]["unit"]


# Alerts of both services differ only in the name, so they are tested for order only.
@pytest.mark.parametrize(("service", "tested"), [("order", names("order")), ("payment", names() - names("order"))])
def test_each_alert_is_tested_by_promtool_both_firing_and_not(service: str, tested: set[str]) -> None:
    text = (ROOT / f"tests/monitoring/{service}.test.yaml").read_text()
    cases = [case for test in yaml.safe_load(text)["tests"] for case in test["alert_rule_test"]]
    for name in tested:
        outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
        assert outcomes == {True, False}, name


def test_every_expression_selects_only_tandem_s_series() -> None:
    seen = 0
    for path, expression in expressions():
        found = SELECTOR.findall(expression)
        assert found, expression
        for metric, matchers in found:
            assert re.search(r'\btandem=~?"(order|payment|order\|payment)"', matchers), (path, metric)
            seen += 1
        # No metric is named without a selector: functions, operators and labels remain.
        rest = SELECTOR.sub("", expression)
        assert not re.search(r"_(total|seconds|bucket|count|info|up)\b", rest), (path, rest)
    assert seen > 100


def test_shortened_rules_differ_only_in_times() -> None:
    for service in SERVICES:
        for rule, shorter in zip(
            rules(service),
            [rule for group in alerts.groups(service, 120)["groups"] for rule in group["rules"]],
            strict=True,
        ):
            plain = re.compile(r"\[\w+\]|(?<=> )[0-9.]+(?! \*)")
            assert plain.sub("", rule["expr"]) == plain.sub("", shorter["expr"])
            assert (rule.get("alert"), rule.get("labels")) == (shorter.get("alert"), shorter.get("labels"))


def test_the_documentation_lists_every_alert_and_every_metric_of_the_dashboards() -> None:
    text = (ROOT / "docs/observability.md").read_text()
    listed = set(re.findall(r"^\| (Tandem[A-Z]\w+) \|", text, flags=re.MULTILINE))
    assert listed == names()
    documented = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in text.splitlines() if "| `" in line)))
    used = {metric for _, expression in expressions() for metric, _ in SELECTOR.findall(expression)}
    plain = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in used if ":" not in metric}
    assert plain <= documented, plain - documented


def test_the_documentation_lists_every_application_that_connects_to_a_database() -> None:
    text = (ROOT / "docs/observability.md").read_text()
    (row,) = re.findall(r"^\| `database_connections` .*$", text, flags=re.MULTILINE)
    sources = [path.read_text() for path in sorted((ROOT / "apps").rglob("*.py"))]
    made = re.findall(r"\bDatabase\(\s*[\w.]+, f?\"([^\"]+)\"", "\n".join(sources))
    assert len(made) >= 8
    applications = {re.sub(r"\{[\w.]+\}", service, name) for name in made for service in SERVICES}
    assert applications <= set(re.findall(r"`([\w-]+)`", row))


def test_dashboards_and_panels_have_unique_titles_and_descriptions() -> None:
    uids = []
    for path, text in dashboards.texts().items():
        if path.suffix != ".json":
            continue
        board = json.loads(text)
        uids.append(board["uid"])
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        titles = [panel["title"] for panel in panels]
        assert len(set(titles)) == len(titles) > 8
        for panel in panels:
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
    assert len(set(uids)) == len(uids) == 3


def test_exactly_the_graphs_of_times_show_exemplars() -> None:
    with_exemplars = set()
    for path, text in dashboards.texts().items():
        for panel in json.loads(text)["panels"] if path.suffix == ".json" else []:
            targets = panel.get("targets", [])
            of_times = panel["type"] == "timeseries" and "histogram_quantile" in targets[0]["expr"]
            assert [target.get("exemplar", False) for target in targets] == [
                of_times and number == 0 for number in range(len(targets))
            ], panel["title"]
            with_exemplars |= {panel["title"]} if of_times else set()
    assert {"Time to answer", "Time to deliver (p95)", "Provider's time (p95)"} <= with_exemplars


def test_numbers_of_rows_are_added_over_namespaces_and_not_over_pods() -> None:
    counted = re.compile(
        r"\b(orders_waiting|refunds_pending|orphan_payments|orphan_payments_held_minor_units|outbox_depth"
        r"|operations_pending|webhook_deliveries|database_connections)\{"
    )
    seen = 0
    for path, expression in expressions():
        if path.endswith(".json") and counted.search(expression):
            assert re.match(r"sum( by \([^)]*\))? \(max by \(namespace\b[^)]*\) \(", expression), expression
            seen += 1
    assert seen >= 10
