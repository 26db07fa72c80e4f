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
from ci.laptop.postgres import Postgres


@dataclass(frozen=True)
class Databases:
    """The URLs of an order and a payment database: of the roles that own them, and of the services' roles.

    Without `order_service` and `payment_service`, the owners serve too.
    """

    order: str
    payment: str
    order_service: str = ""
    payment_service: str = ""

    @classmethod
    def create(cls, server: Postgres) -> Databases:
        """Create both databases, not migrated, with an owner and a service's role each, unless they exist."""
        owners = [server.create_database(name) for name in ("order", "payment")]
        return cls(*owners, *(server.create_service_role(name) for name in ("order", "payment")))

    def service_url(self, service: str) -> str:
        """Return the URL with which `order` or `payment` serves."""
        url: str = getattr(self, f"{service}_service") or getattr(self, service)
        return url

    def migrate(self) -> None:
        """Migrate both to the newest schema."""
        for service, migrations, kept in (
            ("order", order.MIGRATIONS, order.commands.KEPT),
            ("payment", payment.MIGRATIONS, payment.commands.KEPT),
        ):
            role = str(urlsplit(self.service_url(service)).username)
            migrate.upgrade(getattr(self, service), migrations, service_role=role, kept=kept)

    def copies(self, administrator: Connection[Any], suffix: str) -> Databases:
        """Create copies of both databases, with the same roles and privileges."""
        owners = [_copy(administrator, url, suffix) for url in (self.order, self.payment)]
        services = [url and f"{url}{suffix}" for url in (self.order_service, self.payment_service)]
        for service in services:
            if service:  # a copy has the privileges of the tables, but not those of the database
                _restrict(administrator, service)
        return Databases(*owners, *services)

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


def _restrict(administrator: Connection[Any], service: str) -> None:
    """Give the database of this URL the privileges that a migration leaves: only its two roles may connect."""
    parts = urlsplit(service)
    database, role = sql.Identifier(parts.path.removeprefix("/")), sql.Identifier(str(parts.username))
    administrator.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    administrator.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))


def _copy(administrator: Connection[Any], url: str, suffix: str) -> str:
    parts = urlsplit(url)
    template = parts.path.removeprefix("/")
    administrator.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
            sql.Identifier(template + suffix), sql.Identifier(template), sql.Identifier(template)
        )
    )
    return parts._replace(path=f"/{template}{suffix}").geturl()
