"""Every statement on a merchant's table names the merchant, so the tables can be divided by merchant among servers.

The SQL of the services is read from their sources: each string is completed with the constants of its module, and
divided into its queries; a subquery is one of its own. A query that reads or writes a merchant's table must compare the
merchant of that table with a parameter, or with the merchant of a row that it has already.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from chassis.messaging.leases import Queue
from ci import ROOT

SHARED = {
    "alembic_version": "the version of the schema",
    "api_keys": "a key is looked up by its digest, before the merchant is known",
    "event_publisher": "one row: which publisher has the lease",
    "event_consumers": "those of the broker, which gets the events of all merchants",
    "operator_sessions": "sessions of operators, who see all merchants",
    "rate_limits": "counts callers, and some callers have no merchant",
    "version_floor": "one row for the whole database",
    "simulator.faults": "belongs to the simulated provider, which is another system",
    "simulator.operations": "belongs to the simulated provider, which is another system",
}
"""The tables that are not divided by merchant, and why."""

_GAUGE = "a gauge or a page of the operator, which shows all merchants"
_RESYNC = "runs by hand after a restore of the whole database"

ACROSS = {
    "chassis.messaging.outbox._GAUGES": _GAUGE,
    "order.operator.audit.newest": _GAUGE,
    "order.operator.store.webhooks_pending": _GAUGE,
    "order.store.orphans.find": _GAUGE,
    "order.store.orphans.count": _GAUGE,
    "order.store.orphans.held": _GAUGE,
    "order.store.waiting.refunds": _GAUGE,
    "order.webhooks.store.backlog": _GAUGE,
    "payment.operations.pending": _GAUGE,
    "order.feed.store.place_at": "finds a place in the feed that holds for every merchant",
    "order.webhooks.queue._REDELIVER": "takes the next endpoint of any merchant; its deliveries by merchant",
    "order.webhooks.queue.give_up": "finds the oldest deliveries by age; changes them by merchant",
    "order.store.resending._DELIVERED_SINCE": _RESYNC,
    "order.store.resending._WAITING": _RESYNC,
    "order.store.resending._UNDER_WAY": _RESYNC,
    "payment.adopted.find_changed": _RESYNC,
}
"""The statements that work across merchants, and why. On several servers, each server runs them for its merchants."""

SCHEMA = "".join((ROOT / "docs" / "schema" / f"{service}.sql").read_text() for service in ("order", "payment"))
TABLES = set(re.findall(r"CREATE (?:UNLOGGED )?TABLE ([\w.]+)", SCHEMA))
OF_MERCHANTS = TABLES - SHARED.keys()

COMPOSERS = {"json_time", "deliveries.queue", "leases.by_turns", "leases.held", "leases.merchants"}
"""The functions that make parts of statements."""

STATEMENT = re.compile(r"\s*(WITH|SELECT|INSERT INTO|UPDATE|DELETE FROM)\b")
SUBQUERY = re.compile(r"\s*(WITH|SELECT|INSERT INTO|UPDATE|DELETE FROM|VALUES)\b")
REFERENCE = re.compile(r"\b(FROM|JOIN|UPDATE|INTO|USING) (?:ONLY )?([a-z_.]+)(?: (?:AS )?([a-z_]\w*)\b)?")
# Finds the first merchant, or the one after another: a loose index scan, whose cost is that of one row.
NEXT_MERCHANT = re.compile(r"SELECT (\w+\.)?merchant\b.* ORDER BY (\w+\.)?merchant\b.* LIMIT 1")


def queries(sql: str) -> Iterator[str]:
    """Yield the queries of a statement, each without its subqueries, on one line."""
    sql = re.sub(r"--[^\n]*|'(?:[^']|'')*'", " ", sql)
    whole, opened = [""], [False]
    for position, character in enumerate(sql):
        if character == "(" and SUBQUERY.match(sql, position + 1):
            whole.append("")
            opened.append(True)
        elif character == ")" and opened[-1] and whole[-1].count("(") == whole[-1].count(")"):
            opened.pop()
            yield from re.split(r"\bUNION(?: ALL)?\b", " ".join(whole.pop().split()))
            whole[-1] += "()"
        else:
            whole[-1] += character
    yield from re.split(r"\bUNION(?: ALL)?\b", " ".join("".join(whole).split()))


def compares_merchant(query: str, alias: str, alone: bool) -> bool:
    """Return whether a query compares the merchant of the table `alias`. `alone`: it is the query's only table."""
    names = [rf"\b{alias}\.merchant", *([r"(?<![.\w])merchant"] if alone else [])]
    return re.search(r"\bUSING \(merchant\b", query) is not None or any(
        re.search(pattern, query)
        for name in names
        for pattern in (
            rf"{name} (?:=|IS NOT DISTINCT FROM) ",
            rf" = {name}\b",
            rf"\({name},[^()]*\) (?:=|IN) ",
            rf" = \({name},",
        )
    )


def unnamed(sql: str) -> list[str]:
    """Return the tables that a statement reads or writes without naming the merchant."""
    found = []
    for query in queries(sql):
        references = [
            (verb, table, alias if alias and alias.islower() else table)
            for verb, table, alias in REFERENCE.findall(query)
            if table in OF_MERCHANTS
        ]
        for verb, table, alias in references:
            if verb == "INTO":
                columns = re.search(rf"INTO {table} (?:AS \w+ )?\(([^)]*)\)", query)
                if columns is None or "merchant" not in columns[1].replace(" ", "").split(","):
                    found.append(table)
            elif not NEXT_MERCHANT.search(query) and not compares_merchant(query, alias, len(references) == 1):
                found.append(table)
    return found


class Sources:
    """The SQL in the source of one module."""

    def __init__(self, path: Path) -> None:
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        name = str(path.relative_to(ROOT / "apps").with_suffix("")).replace("/", ".").removesuffix(".__init__")
        self._module: ModuleType = importlib.import_module(name)
        self._name = name

    def statements(self) -> Iterator[tuple[str, str]]:
        """Yield the statements, each with the name of the function or constant that has it."""
        for node in self._tree.body:
            yield from self._within(node, self._name)
        for name, value in vars(self._module).items():
            if isinstance(value, Queue) and re.search(rf"^{name} = ", ast.unparse(self._tree), re.M):
                yield f"{self._name}.{name}", value.claiming
                yield f"{self._name}.{name}", f"UPDATE {value.table} SET x WHERE {value.held}"

    def _within(self, node: ast.AST, inside: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = f"{inside}.{node.name}"
        elif isinstance(node, ast.Assign | ast.AnnAssign) and inside == self._name:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            inside = f"{inside}.{ast.unparse(target)}"
        text = self._text(node)
        if text is None:
            for child in ast.iter_child_nodes(node):
                yield from self._within(child, inside)
        elif STATEMENT.match(text):
            yield inside, text

    def _text(self, node: ast.AST) -> str | None:
        """Return the text of an expression that makes a string, or None. What is not known here is left out."""
        match node:
            case ast.Constant(value=str(value)):
                return value
            case ast.JoinedStr(values=values):
                return "".join(self._text(value) or "" for value in values)
            case ast.FormattedValue(value=value):
                return self._text(value) or self._evaluated(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                texts = self._text(left) or self._evaluated(left), self._text(right) or self._evaluated(right)
                return "".join(texts) if any(texts) else None
            case ast.Call(func=ast.Attribute(value=value, attr="format")):
                return self._text(value) or self._evaluated(value)
        return None

    def _evaluated(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in COMPOSERS:
            return ""
        if isinstance(node, ast.Subscript):
            parts = vars(self._module).get(ast.unparse(node.value))
            texts = [part for part in parts.values() if isinstance(part, str)] if isinstance(parts, dict) else []
            # One of the parts is chosen: that without the merchant, if there is one.
            return min(texts, key=lambda text: "merchant" in text, default="")
        try:
            value = eval(compile(ast.Expression(node), self._name, "eval"), dict(vars(self._module)))
        except (NameError, RuntimeError):
            return ""  # of the function or of a request; texts that a function composes are read where they are written
        return value if isinstance(value, str) else ""


def statements() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "apps").rglob("*.py")):
        if "migrations" not in path.parts and "client" not in path.parts and path.name != "tables.py":
            yield from Sources(path).statements()


def test_each_statement_on_a_merchants_table_names_the_merchant() -> None:
    seen = list(statements())
    assert len([sql for _, sql in seen if any(table in sql for table in OF_MERCHANTS)]) > 100
    across = {name: unnamed(sql) for name, sql in seen if unnamed(sql)}
    assert {name: tables for name, tables in across.items() if name not in ACROSS} == {}
    assert ACROSS.keys() - across.keys() == set(), "these name the merchant now"


def test_each_key_of_a_merchants_table_has_the_merchant() -> None:
    keys = re.findall(r"^CREATE TABLE ([\w.]+) \((.*?)^\)", SCHEMA, re.M | re.S)
    found = {
        (table, columns)
        for table, body in keys
        for columns in re.findall(r"(?:PRIMARY KEY|UNIQUE) \(([^)]*)\)", body)
        if table in OF_MERCHANTS
    }
    found |= set(re.findall(r"^CREATE UNIQUE INDEX \w+ ON ([\w.]+) \(([^)]*)\)", SCHEMA, re.M))
    assert len(found) >= len(OF_MERCHANTS)
    assert [key for key in found if "merchant" not in key[1].split(", ")] == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM outbox WHERE id = %s",
        "UPDATE outbox SET x = 1 FROM changed o JOIN step s ON s.merchant = o.merchant WHERE outbox.id = s.id",
        "SELECT 1 FROM orders o JOIN refunds r ON r.order_id = o.id WHERE o.merchant = %s",
        "SELECT 1 FROM orders WHERE merchant = %s AND EXISTS (SELECT FROM refunds WHERE order_id = orders.id)",
        "INSERT INTO outbox (id, topic) VALUES (%s, %s)",
        "DELETE FROM outbox WHERE created_at < now()",
        "WITH a AS (SELECT 1) SELECT id FROM payments WHERE merchant > %s ORDER BY merchant LIMIT 100",
        "SELECT (SELECT count(*) FROM a) FROM orders WHERE merchant = 'a' UNION SELECT id FROM orders",
    ],
)
def test_a_statement_without_the_merchant_is_detected(sql: str) -> None:
    assert unnamed(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM outbox WHERE merchant = %s AND id = %s",
        "SELECT 1 FROM refunds k JOIN orders o ON (o.merchant, o.id) = (k.merchant, k.id) WHERE k.merchant = %s",
        "SELECT 1 FROM orders WHERE (merchant, id) IN (SELECT merchant, id FROM unnest(%s) AS i(merchant, id))",
        "UPDATE orders o SET version = 1 FROM given g WHERE o.merchant = g.merchant AND o.id = g.id",
        "SELECT merchant FROM orders WHERE merchant > %s ORDER BY merchant LIMIT 1",
    ],
)
def test_a_statement_with_the_merchant_passes(sql: str) -> None:
    assert not unnamed(sql)
