"""The databases of both services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql
from psycopg.rows import dict_row

import order
import payment
from chassis.postgres import migrate


@dataclass(frozen=True)
class Databases:
    """The URLs of an order and a payment database."""

    order: str
    payment: str

    def migrate(self) -> None:
        """Migrate both to the newest schema."""
        for url, migrations in ((self.order, order.MIGRATIONS), (self.payment, payment.MIGRATIONS)):
            migrate.upgrade(url, migrations)

    def copies(self, administrator: Connection[Any], suffix: str) -> Databases:
        """Create copies of both databases, owned by the same roles."""
        return Databases(*(_copy(administrator, url, suffix) for url in (self.order, self.payment)))

    def query(self, service: str, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement on the `order` or `payment` database."""
        with psycopg.connect(getattr(self, service), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def charges(self, order_id: str) -> list[dict[str, Any]]:
        """Return what the simulated provider has charged for an order, from its own tables."""
        return self.query(
            "payment",
            """SELECT s.amount, s.currency FROM simulator.operations s
               JOIN operations o ON o.id = s.key JOIN payments p ON p.merchant = o.merchant AND p.id = o.payment_id
               WHERE p.order_id = %s AND s.result = 'succeeded' AND s.kind = 'sale'""",
            order_id,
        )


def _copy(administrator: Connection[Any], url: str, suffix: str) -> str:
    parts = urlsplit(url)
    template = parts.path.removeprefix("/")
    administrator.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
            sql.Identifier(template + suffix), sql.Identifier(template), sql.Identifier(template)
        )
    )
    return parts._replace(path=f"/{template}{suffix}").geturl()
