"""Privileges of a service's role in a database whose tables belong to another role.

The tables belong to the role of the migrations. A service has another role: an attacker who controls the service can
change neither the schema nor its triggers, can neither update nor delete the rows of append-only tables, and can
delete no row of the tables that a service keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

_READ = ("SELECT",)
_APPEND = ("SELECT", "INSERT")
_KEEP = ("SELECT", "INSERT", "UPDATE")
_CHANGE = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Tables, views and sequences that the current role may grant on, without those of extensions. Histories have the
# trigger of `tables.append_only`. The service needs no sequence, but pg_dump reads them.
_RELATIONS: LiteralString = """
SELECT n.nspname, c.relname, CASE
    WHEN c.relkind NOT IN ('r', 'p') OR c.relname = 'alembic_version' THEN 'read'
    WHEN EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                 WHERE t.tgrelid = c.oid AND p.proname = 'append_only') THEN 'append'
    WHEN c.relname = ANY(%(kept)s) THEN 'keep'
    ELSE 'change' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY n.nspname, c.relname
"""
_PRIVILEGES = {"read": _READ, "append": _APPEND, "keep": _KEEP, "change": _CHANGE}

# What a role has beyond the privileges that `grant` gives it, as sentences that continue "the role NAME". A role can
# give itself settings, which outlast the connection: with synchronous_commit=off, acknowledged commits can be lost. It
# also has those of the database, unless it has the same setting itself.
_EXCESS: LiteralString = """
WITH own AS (
    SELECT c.oid, c.relowner, c.oid::regclass::text AS name,
           EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                   WHERE t.tgrelid = c.oid AND p.proname = 'append_only') AS history
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
)
SELECT 'is a superuser' FROM pg_roles WHERE rolname = %(role)s AND rolsuper
UNION ALL SELECT 'may create roles' FROM pg_roles WHERE rolname = %(role)s AND rolcreaterole
UNION ALL SELECT DISTINCT 'owns tables, or may act as their owner ' || relowner::regrole
    FROM own WHERE pg_has_role(%(role)s, relowner, 'MEMBER')
UNION ALL SELECT 'may change the history ' || name FROM own
    WHERE history AND has_table_privilege(%(role)s, oid, 'UPDATE, DELETE, TRUNCATE')
UNION ALL SELECT 'may create objects in the schema ' || quote_ident(nspname) FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\\_%%' AND has_schema_privilege(%(role)s, oid, 'CREATE')
UNION ALL SELECT 'may create schemas' WHERE has_database_privilege(%(role)s, current_database(), 'CREATE')
UNION ALL SELECT 'may switch triggers off (session_replication_role)'
    WHERE has_parameter_privilege(%(role)s, 'session_replication_role', 'SET')
UNION ALL SELECT 'has the setting ' || setting || CASE setrole WHEN 0 THEN ', which is that of the database' ELSE '' END
    FROM (SELECT DISTINCT ON (split_part(setting, '=', 1)) setting, s.setrole
          FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS setting
          WHERE s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = %(role)s))
            AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          ORDER BY split_part(setting, '=', 1), s.setrole = 0, s.setdatabase = 0) AS effective
    WHERE setting ~* '^(synchronous_commit=(off|local|false|no|0)$|search_path=|default_transaction_|row_security=)'
"""


class RoleMissing(Exception):
    """The role that a service connects with does not exist. The message names it."""


def of_url(url: str) -> str:
    """Return the role that a libpq URL connects with; an empty text if the URL names none."""
    return str(conninfo_to_dict(url).get("user") or "")


def check(connection: Connection, role: str) -> bool:
    """Return whether `role` needs grants: False if the connection has the same role, which then owns the tables.

    Raises RoleMissing.
    """
    row = connection.execute(
        "SELECT current_user = %(role)s, EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s)", {"role": role}
    ).fetchone()
    assert row is not None
    same, exists = row
    if not exists:
        raise RoleMissing(f'the role "{role}" of DATABASE_URL does not exist in the database')
    return not same


def grant(connection: Connection, role: str, kept: Sequence[str] = ()) -> list[str]:
    """Give `role` what a service needs on all tables of the connection's role, and take everything else from it.

    Histories can be read and appended to. Rows of the tables that are named in `kept` can be added and updated, and not
    be deleted. Other tables can be changed. Safe to repeat. It is one transaction, so
    a running service notices nothing. Returns what the role may do beyond that, which this role cannot take from it.
    """
    name = sql.Identifier(role)
    with connection.transaction():
        _close_to_public(connection)
        database = sql.Identifier(connection.info.dbname)
        _execute_if_owner(connection, "DATABASE", sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
        schemas: set[str] = set()
        for schema, relation, kind in connection.execute(_RELATIONS, {"kept": list(kept)}).fetchall():
            if schema not in schemas:
                schemas.add(schema)
                connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name))
            on = sql.Identifier(schema, relation)
            privileges = sql.SQL(", ").join(map(sql.SQL, _PRIVILEGES[kind]))
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(on, name))
            connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(privileges, on, name))
    return [text for (text,) in connection.execute(_EXCESS, {"role": role}).fetchall()]


def _close_to_public(connection: Connection) -> None:
    """Take from all roles what PostgreSQL gives them by default: temporary tables, and before version 15 new tables."""
    database = sql.Identifier(connection.info.dbname)
    _execute_if_owner(connection, "DATABASE", sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
    _execute_if_owner(connection, "SCHEMA", sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))


_OWNS: dict[str, LiteralString] = {
    "DATABASE": "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()",
    "SCHEMA": "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'",
}


def _execute_if_owner(connection: Connection, of: str, statement: sql.SQL | sql.Composed) -> None:
    """Execute a statement if the connection's role owns the database or the schema `public`.

    Otherwise PostgreSQL would refuse it, or warn.
    """
    if connection.execute(_OWNS[of]).fetchone() == (True,):
        connection.execute(statement)
