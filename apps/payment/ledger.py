"""The ledger's SQL: double entry, append-only; the database refuses entries of an operation that do not sum to zero."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg.types.json import Jsonb

from payment.model import Entry

INSERT_FOR_SETTLED = """
    INSERT INTO ledger_entries (merchant, operation_id, payment_id, account, direction, amount, currency)
    SELECT settled.merchant, settled.id, payment_id, e.account, e.direction, e.amount, settled.currency
    FROM settled, jsonb_to_recordset(%(entries)s) AS e(account text, direction text, amount bigint)"""
"""Part of the statement that settles an operation, whose row it knows as `settled`; takes `entries`."""


def parameter(entries: Iterable[Entry]) -> Jsonb:
    """Entries as the parameter `entries` of INSERT_FOR_SETTLED."""
    return Jsonb([{"account": e.account, "direction": e.direction, "amount": e.amount} for e in entries])
