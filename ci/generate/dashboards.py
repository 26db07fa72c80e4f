"""`make dashboards`: write Grafana dashboards and Prometheus alerts into the charts.

Each service's chart has `service.json`, with that service's requests and dependencies. order's chart also has
`money.json`, with orders and payments on their way through both services.
"""

from __future__ import annotations

from pathlib import Path

from ci import ROOT
from ci.generate import alerts, files, money_dashboard, service_dashboard

SERVICES = ("order", "payment")


def texts() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    made = {}
    for service in SERVICES:
        folder = ROOT / "charts" / service / "files"
        made[folder / "rules" / "alerts.yaml"] = alerts.text(service)
        made[folder / "dashboards" / "service.json"] = service_dashboard.text(service)
    made[ROOT / "charts" / "order" / "files" / "dashboards" / "money.json"] = money_dashboard.text()
    return made


if __name__ == "__main__":
    files.main(texts(), "dashboards")
