"""What the services call each kind of problem."""

from __future__ import annotations

import order.problems
import payment.problems

CATALOGUES = {"order": order.problems.CATALOGUE, "payment": payment.problems.CATALOGUE}
TITLES = {name: kind.title for catalogue in CATALOGUES.values() for name, kind in catalogue.items()}
