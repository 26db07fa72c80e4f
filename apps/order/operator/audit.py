"""The audit of operators' actions: the append-only table `operator_actions`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import LiteralString

import uuid_utils

from chassis.postgres.database import Row, Session

EVERY_MERCHANT = ""
"""Stands for the merchant of an action that concerns all merchants."""


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator does. `amount` is in minor units. `target` names what else than the order is acted on."""

    who: str
    request_id: str
    action: str
    merchant: str = EVERY_MERCHANT
    order_id: str | None = None
    target: str | None = None
    amount: int | None = None
    currency: str | None = None
    reason: str = ""


def record(session: Session, action: Action, outcome: str, detail: str = "") -> None:
    """Store an action. `outcome` is `done`, `refused` or `unknown`; `detail` says why, or how much was done."""
    session.execute(
        """INSERT INTO operator_actions
               (merchant, id, who, action, order_id, target, amount, currency, reason, outcome, detail, request_id)
           VALUES (%(merchant)s, %(id)s, %(who)s, %(action)s, %(order_id)s, %(target)s, %(amount)s, %(currency)s,
                   %(reason)s, %(outcome)s, %(detail)s, %(request_id)s)""",
        {**asdict(action), "id": str(uuid_utils.uuid7()), "outcome": outcome, "detail": detail},
    )


_COLUMNS: LiteralString = (
    "merchant, id, at, who, action, order_id, target, amount, currency, reason, outcome, detail, request_id"
)


def of_order(session: Session, merchant: str, order_id: str, limit: int) -> list[Row]:
    """Return up to `limit` actions on an order, newest first."""
    return session.execute(
        f"""SELECT {_COLUMNS} FROM operator_actions
            WHERE merchant = %s AND order_id = %s ORDER BY id DESC LIMIT %s""",
        (merchant, order_id, limit),
    ).fetchall()


def newest(session: Session, merchant: str | None, before: str | None, limit: int) -> list[Row]:
    """Return up to `limit` actions, newest first, of one merchant or of all (None), older than the id `before`."""
    only: LiteralString = "AND merchant = %(merchant)s" if merchant else ""
    older: LiteralString = "AND id < %(before)s" if before else ""
    return session.execute(
        f"SELECT {_COLUMNS} FROM operator_actions WHERE true {only} {older} ORDER BY id DESC LIMIT %(limit)s",
        {"merchant": merchant, "before": before, "limit": limit},
        prepare=False,
    ).fetchall()
