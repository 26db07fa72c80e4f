"""Grafana panels and pages in the style that all dashboards share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as options
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
_NUMBER_HEIGHT, _GRAPH_HEIGHT = 4, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph, or with `number=True` the last value.

    `unit` is one of Grafana's unit names. `queries` maps a legend, which may contain labels such as `{{route}}`, to its
    query. `share` is the panel's share of the page's width, at most 1.
    """

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    stacked: bool = False
    number: bool = False
    share: float = 1 / 3


def page(uid: str, title: str, description: str, rows: Mapping[str, Sequence[Panel]], namespaces: str) -> str:
    """Return a dashboard as Grafana's JSON. `namespaces` is the query that lists the namespaces to choose from."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
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
            made = made.with_panel(_number(panel) if panel.number else _graph(panel))
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
        # All quantiles of a histogram have the same exemplars, so only the first query of a graph shows them.
        exemplars = number == 0 and not panel.number and expression.startswith("histogram_quantile(")
        made.append(query.exemplar(True) if exemplars else query)
    return made


def _number(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.description).datasource(_SOURCE).unit(panel.unit)
    made = made.span(round(_COLUMNS * panel.share)).height(_NUMBER_HEIGHT).no_value("-")
    made = made.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _graph(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.description)
    made = made.datasource(_SOURCE).unit(panel.unit).min(0)
    made = made.span(round(_COLUMNS * panel.share)).height(_GRAPH_HEIGHT).fill_opacity(10).line_width(1)
    made = made.tooltip(options.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    legend = options.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = made.legend(legend.show_legend(True))
    if panel.stacked:
        made = made.stacking(options.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for query in _queries(panel):
        made = made.with_target(query)
    return made
