"""Keeps the rows that a purge deletes, so that the checker still sees them: triggers copy them to a schema `chaos`."""

from __future__ import annotations

from typing import Any

from tests.support.databases import Databases

TABLES = ("outbox", "idempotency_keys")

_INSTALL = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.{table} (LIKE public.{table});
CREATE FUNCTION chaos.keep_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.{table} SELECT OLD.*;
    RETURN OLD;
END $$;
CREATE TRIGGER chaos_keep BEFORE DELETE ON public.{table} FOR EACH ROW EXECUTE FUNCTION chaos.keep_{table}();
"""


def keep(databases: Databases) -> None:
    """Keep deleted rows of both databases from now on."""
    for service in ("order", "payment"):
        for number, table in enumerate(TABLES):
            statements = _INSTALL.format(table=table)
            databases.query(service, statements if number == 0 else statements.replace("CREATE SCHEMA chaos;", ""))


def rows(databases: Databases, service: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table, and those that were purged if they are kept.

    Messages that were withdrawn before they were delivered are left out.
    """
    there = databases.query(service, f"SELECT * FROM {table}")
    if not databases.query(service, "SELECT to_regclass(%s) IS NOT NULL AS kept", f"chaos.{table}")[0]["kept"]:
        return there
    delivered = "WHERE delivered_at IS NOT NULL" if table == "outbox" else ""
    return there + databases.query(service, f"SELECT * FROM chaos.{table} {delivered}")
