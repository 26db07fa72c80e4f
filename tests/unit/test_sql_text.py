"""The text of SQL statements is made of constants: values from outside are always bound as parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from ci import ROOT

SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|NOTIFY|LISTEN|PREPARE|FROM \w+|WHERE|ORDER BY)\b")
CONSTANT = re.compile(r"([a-z]\w*\.)?_?[A-Z][A-Z_]*(\.[a-z]+)?|_[A-Z_]+\[[a-z.]+\]")
CALLS = (
    "json_time(",
    "deliveries.queue(",
    "lists.shown(",
    "leases.by_turns(",
    "leases.held(",
    "leases.merchants(",
    "merchants(table, ",
)  # of texts in the sources
# Names of parts of statements that a function composes of constants: review a new name before you add it.
FRAGMENTS = {
    "apps/chassis/cli/commands.py": {"is_free", "old.condition", "table", "typed", "wanted"},
    "apps/chassis/messaging/leases.py": {
        *("counts", "matches", "queue.held", "queue.pending", "queue.table", "self.due", "self.returning"),
        *("columns", "condition", "due", "lock", "name", "only", "pending", "source", "table", "time", "which"),
    },
    "apps/chassis/messaging/work.py": {"self._channel"},
    "apps/chassis/postgres/lists.py": {
        *("all_parts", "ctes", "page", "parts", "smaller", "sorting", "view"),
        *("first", "last", "number"),  # numbers of rows
    },
    "apps/chassis/postgres/prepared.py": {"name", "text"},
    "apps/chassis/postgres/tables.py": {"function", "table"},  # names that migrations give
    "apps/order/operator/audit.py": {"older", "only"},
    "apps/order/operator/records.py": {"' OR '.join(bounds)", "select"},
    "apps/order/operator/store.py": {"chosen", "older", "only"},
    "apps/order/store/deliveries.py": {"data", "more", "source"},
    "apps/order/store/orphans.py": {"conditions"},
    "apps/order/store/refunds.py": {"bounds"},
    "apps/order/store/views.py": {"page", "way"},
    "apps/payment/ledger.py": {"conditions"},
    "apps/payment/store.py": {"conditions"},
}


def interpolated(source: str) -> Iterator[str]:
    """Yield what f-strings with SQL interpolate."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            fixed = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if SQL.search(fixed):
                yield from (ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue))


def is_constant(path: str, expression: str) -> bool:
    return bool(
        CONSTANT.fullmatch(expression) or expression.startswith(CALLS) or expression in FRAGMENTS.get(path, set())
    )


@pytest.mark.adversarial
def test_statements_are_composed_of_constants_only() -> None:
    found = {
        (str(path.relative_to(ROOT)), expression)
        for path in (ROOT / "apps").rglob("*.py")
        if "migrations" not in path.parts
        for expression in interpolated(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 40
    assert {one for one in found if not is_constant(*one)} == set()


@pytest.mark.parametrize("expression", ["merchant", "request.args['status']", "name.upper()", "f(x)", "order.id"])
def test_a_value_in_the_text_of_a_statement_is_detected(expression: str) -> None:
    (seen,) = interpolated(f'session.execute(f"SELECT 1 FROM orders WHERE merchant = {{{expression}}}")')
    assert not is_constant("apps/order/service.py", seen)
