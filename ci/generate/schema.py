"""docs/schema: the schema of each database as SQL, with comments. `make schema` writes it; a test compares it.

The migrations run in a temporary PostgreSQL, and its catalog is read. The file creates the same database as the
migrations do. It has the tables in an order that explains them, each with its comments, indexes and triggers.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

import order
import payment
from chassis.postgres import migrate
from ci import ROOT
from ci.laptop.postgres import Postgres

FOLDER = ROOT / "docs" / "schema"
MIGRATIONS = {"order": order.MIGRATIONS, "payment": payment.MIGRATIONS}
_CALLERS = ("Callers", ("idempotency_keys", "api_keys", "rate_limits"))
_ALEMBIC = ("Migrations", ("alembic_version",))
CHAPTERS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "order": (
        ("Orders", ("orders", "order_events", "refunds")),
        ("Commands to payment, and events from it", ("outbox", "inbox", "orphan_payments")),
        _CALLERS,
        ("Webhooks to merchants", ("webhook_endpoints", "webhook_deliveries", "webhook_attempts")),
        ("Events to a broker", ("event_publisher", "event_positions", "event_consumers")),
        ("The operator's page", ("operator_sessions", "operator_actions")),
        _ALEMBIC,
    ),
    "payment": (
        ("Payments", ("payments", "operations", "ledger_entries", "version_floor")),
        ("Events to order", ("outbox",)),
        _CALLERS,
        ("The simulated provider", ("simulator.operations", "simulator.faults")),
        _ALEMBIC,
    ),
}
"""The chapters of each service's file, and their tables. A table comes after those that its foreign keys name."""

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

_TABLES = """
SELECT c.oid, c.oid::regclass::text AS name, c.relname AS plain, n.nspname AS schema,
       c.relpersistence = 'u' AS unlogged, array_to_string(c.reloptions, ', ') AS options,
       obj_description(c.oid, 'pg_class') AS about
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY name
"""

_COLUMNS = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required, attidentity AS identity,
       pg_get_expr(adbin, adrelid) AS initial, attstattarget = 0 AS has_no_statistics,
       col_description(attrelid, attnum) AS about
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_CONSTRAINTS = """
SELECT conname AS name, contype AS kind, pg_get_constraintdef(oid, true) AS definition,
       ARRAY(SELECT attname FROM unnest(conkey) WITH ORDINALITY AS of (number, place)
             JOIN pg_attribute ON attrelid = conrelid AND attnum = of.number ORDER BY place)::text[] AS columns
FROM pg_constraint WHERE conrelid = %s AND contype IN ('p', 'u', 'c', 'f')
ORDER BY array_position('{p,u,c,f}', contype::text), conname
"""

_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid, 0, true) AS definition,
       obj_description(indexrelid, 'pg_class') AS about
FROM pg_index WHERE indrelid = %s AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY name
"""

_STATISTICS = """
SELECT stxname AS name, pg_get_statisticsobjdef(oid) AS definition, obj_description(oid, 'pg_statistic_ext') AS about
FROM pg_statistic_ext WHERE stxrelid = %s ORDER BY name
"""

_TRIGGERS = """
SELECT tgname AS name, pg_get_triggerdef(t.oid, true) AS definition, obj_description(t.oid, 'pg_trigger') AS about,
       tgfoid::regprocedure::text AS function, pg_get_functiondef(tgfoid) AS function_definition,
       obj_description(tgfoid, 'pg_proc') AS function_about
FROM pg_trigger t WHERE tgrelid = %s AND NOT tgisinternal ORDER BY tgname
"""

# Functions that are not of triggers. They come first: defaults of columns call them.
_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition,
       obj_description(p.oid, 'pg_proc') AS about
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prorettype <> 'trigger'::regtype AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
ORDER BY p.proname DESC
"""

# PostgreSQL's spelling, and the shorter one of the migrations. Both create the same database; a test checks it.
_SPELLINGS = (
    (r"timestamp with time zone", "timestamptz"),
    (r"double precision", "float8"),
    (r"character varying", "varchar"),
    (r"('(?:[^']|'')*')::(?:text|jsonb|uuid\[\])", r"\1"),
    (r"(\w+) = ANY \(ARRAY\[([^]]*)\]\)", r"\1 IN (\2)"),
    (r" USING btree", ""),
)


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, Postgres(Path(temporary) / "state", durable=False) as server:
        for service, migrations in MIGRATIONS.items():
            url = server.create_database(service)
            migrate.upgrade(url, migrations)
            path = FOLDER / f"{service}.sql"
            path.write_text(text(service, url), encoding="utf-8")
            print(path.relative_to(ROOT))


def text(service: str, url: str) -> str:
    """The text of a service's file, read from the database at `url`. Tables without a chapter come last."""
    with psycopg.Connection.connect(url, row_factory=dict_row) as connection:
        tables = {row["name"]: row for row in connection.execute(_TABLES)}
        named = [name for _, names in CHAPTERS[service] for name in names]
        chapters = [*CHAPTERS[service], ("Others", tuple(name for name in tables if name not in named))]
        parts = [
            f"-- The database of the {service} service, as its migrations leave it. `make schema` writes this file.",
            "-- Amounts are whole minor units of their currency; times are UTC.",
        ]
        known: set[str] = set()
        functions = connection.execute(_FUNCTIONS).fetchall()
        if functions:
            parts.append("\n\n-- Functions " + "-" * 107)
        for function in functions:
            parts += ["", f"{_function(function['definition'])};"]
            parts += _comment(connection, f"FUNCTION {function['name']}", function["about"])
        for title, names in chapters:
            if names:
                parts.append(f"\n\n-- {title} " + "-" * (116 - len(title)))
            for name in names:
                parts += ["", *_table(connection, tables[name], known)]
    return "\n".join(parts) + "\n"


def _table(connection: Connection, table: Row, known: set[str]) -> Iterator[str]:
    """A table and everything that belongs to it. `known` holds the schemas and functions that were already written."""
    if table["schema"] not in ("public", *known):
        known.add(table["schema"])
        yield f"CREATE SCHEMA {table['schema']};"
        yield from _comment(connection, f"SCHEMA {table['schema']}", _about_schema(connection, table["schema"]))
        yield ""
    columns = connection.execute(_COLUMNS, (table["oid"],)).fetchall()
    constraints = connection.execute(_CONSTRAINTS, (table["oid"],)).fetchall()
    yield f"CREATE {'UNLOGGED ' if table['unlogged'] else ''}TABLE {table['name']} ("
    lines = [*_columns(table, columns, constraints), *_constraints(table, constraints)]
    yield ",\n".join(_fit(f"    {line}", indent=8) for line in lines)
    yield f") WITH ({table['options'].replace('=', ' = ')});" if table["options"] else ");"
    yield from _comment(connection, f"TABLE {table['name']}", table["about"])
    for column in columns:
        yield from _comment(connection, f"COLUMN {table['name']}.{column['name']}", column["about"])
    skipped = [f"ALTER COLUMN {column['name']} SET STATISTICS 0" for column in columns if column["has_no_statistics"]]
    if skipped:
        yield f"ALTER TABLE {table['name']} " + ",\n    ".join(skipped) + ";"
    for index in connection.execute(_INDEXES, (table["oid"],)).fetchall():
        yield ""
        yield _fit(f"{_spelled(index['definition'])};")
        yield from _comment(connection, f"INDEX {index['name']}", index["about"])
    for statistics in connection.execute(_STATISTICS, (table["oid"],)).fetchall():
        yield ""
        yield _fit(f"{_spelled(statistics['definition']).replace(' public.', ' ')};")
        yield from _comment(connection, f"STATISTICS {statistics['name']}", statistics["about"])
    for trigger in connection.execute(_TRIGGERS, (table["oid"],)).fetchall():
        if trigger["function"] not in known:
            known.add(trigger["function"])
            yield ""
            yield f"{_function(trigger['function_definition'])};"
            yield from _comment(connection, f"FUNCTION {trigger['function']}", trigger["function_about"])
        yield ""
        yield _fit(f"{trigger['definition']};")
        yield from _comment(connection, f"TRIGGER {trigger['name']} ON {table['name']}", trigger["about"])


def _columns(table: Row, columns: list[Row], constraints: list[Row]) -> Iterator[str]:
    names = max(len(column["name"]) for column in columns)
    types = max(len(_spelled(column["type"])) for column in columns)
    for column in columns:
        line = f"{column['name']:<{names}} {_spelled(column['type']):<{types}}"
        line += " NOT NULL" if column["required"] else ""
        line += " GENERATED ALWAYS AS IDENTITY" if column["identity"] else ""
        line += f" DEFAULT {_spelled(column['initial'])}" if column["initial"] else ""
        for constraint in constraints:
            if _is_of_column(table, constraint, column["name"]):
                line += f" {_spelled(constraint['definition'])}"
        yield line.rstrip()


def _constraints(table: Row, constraints: list[Row]) -> Iterator[str]:
    for constraint in constraints:
        if len(constraint["columns"]) == 1 and _is_of_column(table, constraint, constraint["columns"][0]):
            continue
        of = "_".join([table["plain"], *constraint["columns"]])
        usual = {
            "p": rf"{table['plain']}_pkey",
            "u": f"{of}_key",
            "f": f"{of}_fkey",
            "c": rf"{table['plain']}_check\d*",
        }
        name = (
            "" if re.fullmatch(usual[constraint["kind"]], constraint["name"]) else f"CONSTRAINT {constraint['name']} "
        )
        yield name + _spelled(constraint["definition"])


def _is_of_column(table: Row, constraint: Row, column: str) -> bool:
    """Whether a constraint is a check of this column alone: PostgreSQL names it after both."""
    return bool(constraint["kind"] == "c" and constraint["name"] == f"{table['plain']}_{column}_check")


def _about_schema(connection: Connection, name: str) -> str | None:
    row = connection.execute("SELECT obj_description(%s::regnamespace, 'pg_namespace') AS about", (name,)).fetchone()
    return row["about"] if row else None


def _comment(connection: Connection, on: str, about: str | None) -> Iterator[str]:
    if about is not None:
        yield f"COMMENT ON {on} IS {psycopg.sql.Literal(about).as_string(connection)};"


def _function(definition: str) -> str:
    """The definition of a function with its head in one line."""
    head = r"CREATE OR REPLACE FUNCTION (?:public\.)?(\S+)\s+RETURNS (\w+)\s+LANGUAGE (\w+)\s+AS \$function\$"
    made = re.sub(head, r"CREATE FUNCTION \1 RETURNS \2 LANGUAGE \3 AS $$", definition.strip())
    return made.replace("$function$", "$$")


def _fit(line: str, indent: int = 4) -> str:
    """A line, broken where a clause begins if it is too long."""
    if len(line) <= 120:
        return line
    margin = " " * indent
    first, *rest = re.split(r"(?<=[^ ,(]) (?=(?:CHECK|REFERENCES|WHERE|EXECUTE) )", line, maxsplit=1)
    if not rest:
        return textwrap.fill(line, 120, subsequent_indent=margin)
    return "\n".join([first, *textwrap.wrap(rest[0], 120, initial_indent=margin, subsequent_indent=margin)])


def _spelled(definition: str) -> str:
    for long, short in _SPELLINGS:
        definition = re.sub(long, short, definition)
    return definition


if __name__ == "__main__":
    main()
