"""What the dashboards are made of: panels of the same looks in rows, and two variables to choose by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh

_SOURCE = DataSourceRef("prometheus", "${datasource}")
_COLUMNS = 24
_HEIGHT = {"number": 4, "picture": 8}


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture: its title, what it says, its unit as Grafana names it, and queries by what their series are called.

    Labels are written as `{{route}}`. A `number` is the last value instead of a course. `share` of a row, at most 1.
    """

    title: str
    about: str
    unit: str
    queries: Mapping[str, str]
    stacked: bool = False
    number: bool = False
    share: float = 1 / 3


def page(uid: str, title: str, about: str, rows: Mapping[str, Sequence[Panel]], namespaces: str) -> str:
    """A dashboard as Grafana's JSON; `namespaces` is the query that finds which namespaces there are."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["tandem"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_namespace(namespaces))
    )
    for name, panels in rows.items():
        made = made.with_row(dashboard.Row(name))
        for panel in panels:
            made = made.with_panel(_number(panel) if panel.number else _picture(panel))
    text: str = JSONEncoder(sort_keys=True, indent=2).encode(made.build())
    return text + "\n"


def _namespace(query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("namespace")
        .label("Namespace")
        .datasource(_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
    )


def _queries(panel: Panel) -> list[prometheus.Dataquery]:
    made = []
    for number, (legend, expression) in enumerate(panel.queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEFGH"[number])
        query = query.instant() if panel.number else query.range()
        # The dots that lead to traces, once in a picture: all queries of a histogram have the same.
        leads = number == 0 and not panel.number and expression.startswith("histogram_quantile(")
        made.append(query.exemplar(True) if leads else query)
    return made


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.about).datasource(_SOURCE).unit(panel.unit)
    made = made.span(round(_COLUMNS * panel.share)).height(_HEIGHT["number"]).no_value("-")
    made = made.reduce_options(looks.ReduceDataOptions().calcs(["lastNotNull"]))
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _picture(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.about).datasource(_SOURCE).unit(panel.unit).min(0)
    made = made.span(round(_COLUMNS * panel.share)).height(_HEIGHT["picture"]).fill_opacity(10).line_width(1)
    made = made.tooltip(looks.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    legend = looks.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = made.legend(legend.show_legend(True))
    if panel.stacked:
        made = made.stacking(looks.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for query in _queries(panel):
        made = made.with_target(query)
    return made
