"""The SQL of the ledger: double entry, append-only. The database enforces that an operation's entries sum to zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import uuid_utils

from chassis.postgres.database import Row, Session, json_time
from payment.model import Entry

INSERT_FOR_SETTLED = """
    INSERT INTO ledger_entries (merchant, id, operation_id, payment_id, account, direction, amount, currency)
    SELECT settled.merchant, e.id, settled.id, payment_id, e.account, e.direction, e.amount, settled.currency
    FROM settled, jsonb_to_recordset(settled.entries) AS e(id uuid, account text, direction text, amount bigint)"""
"""SQL: a part of the statement that settles operations. Reads them from `settled`, each with its `entries`."""


def parameter(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the `entries` of an operation for INSERT_FOR_SETTLED."""
    return [
        {"id": str(uuid_utils.uuid7()), "account": e.account, "direction": e.direction, "amount": e.amount}
        for e in entries
    ]


def balances(session: Session, merchant: str, currency: str | None) -> list[Row]:
    """Return a merchant's trial balance: a row with `body` (JSON text) for each account and currency."""
    return session.execute(
        """SELECT json_build_object('account', account, 'currency', currency, 'debits', debits, 'credits', credits,
                                    'balance', debits - credits)::text AS body
           FROM (SELECT account, currency,
                        COALESCE(sum(amount) FILTER (WHERE direction = 'debit'), 0) AS debits,
                        COALESCE(sum(amount) FILTER (WHERE direction = 'credit'), 0) AS credits
                 FROM ledger_entries
                 WHERE merchant = %(merchant)s AND (%(currency)s::text IS NULL OR currency = %(currency)s::text)
                 GROUP BY account, currency ORDER BY currency, account) sums""",
        {"merchant": merchant, "currency": currency},
    ).fetchall()


def entries(session: Session, merchant: str, payment_id: str | None, after: str | None, limit: int) -> list[Row]:
    """Return a merchant's entries, newest first, of one payment or all: `id` and `body`; at most `limit` + 1."""
    conditions = "".join(
        f" AND {condition}"
        for wanted, condition in ((payment_id, "payment_id = %(payment_id)s"), (after, "id < %(after)s"))
        if wanted is not None
    )
    return session.execute(
        f"""SELECT id, json_build_object('id', id, 'operation_id', operation_id, 'payment_id', payment_id,
                  'account', account, 'direction', direction, 'amount', amount, 'currency', currency,
                  'at', {json_time("at")})::text AS body
           FROM ledger_entries WHERE merchant = %(merchant)s{conditions} ORDER BY id DESC LIMIT %(limit)s + 1""",
        {"merchant": merchant, "payment_id": payment_id, "after": after, "limit": limit},
        prepare=False,
    ).fetchall()
