"""Faults that the simulator is told to have: for all payments of all merchants, until they are switched off.

They stand in the simulator's schema, so that all workers and pods have the same ones, at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from chassis.postgres.database import Row, Session, json_time


@dataclass(frozen=True, slots=True)
class Faults:
    """What is switched on: charges are declined, answers take so long, and so many in a hundred are lost.

    A lost request was never acted on; when an answer is lost, it was.
    """

    decline: bool = False
    delay_ms: int = 0
    lost_requests_percent: int = 0
    lost_answers_percent: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any] | None) -> Faults:
        """As a row of the table has them; none without a row."""
        return cls(**{field.name: row[field.name] for field in fields(cls)}) if row else cls()

    def loses_request(self, operation_id: str, call: int) -> bool:
        """Whether the so-manieth request for an operation is lost: the same ones whenever it is asked."""
        return _dice(f"request {operation_id} {call}") < self.lost_requests_percent

    def loses_answer(self, operation_id: str, call: int) -> bool:
        """Whether the answer to it is lost."""
        return _dice(f"answer {operation_id} {call}") < self.lost_answers_percent


def _dice(text: str) -> int:
    return zlib.crc32(text.encode()) % 100


ROW = "(SELECT to_jsonb(f) FROM simulator.faults f)"
"""SQL for the row as JSON, for statements that do something else besides: asking costs no round trip."""


ANY = """EXISTS (SELECT FROM simulator.faults WHERE decline OR delay_ms > 0
                OR lost_requests_percent > 0 OR lost_answers_percent > 0)"""
"""SQL for whether anything is switched on."""


def read(session: Session) -> Row:
    """The switches' view: body (JSON text)."""
    row = session.one(
        f"""SELECT json_build_object(
                'decline', COALESCE(decline, false), 'delay_ms', COALESCE(delay_ms, 0),
                'lost_requests_percent', COALESCE(lost_requests_percent, 0),
                'lost_answers_percent', COALESCE(lost_answers_percent, 0),
                'changed_at', {json_time("changed_at")})::text AS body
            FROM (VALUES (true)) AS the(one) LEFT JOIN simulator.faults USING (one)"""
    )
    assert row is not None
    return row


def write(session: Session, faults: Faults) -> None:
    """Switch to these."""
    session.execute(
        """INSERT INTO simulator.faults AS f (decline, delay_ms, lost_requests_percent, lost_answers_percent)
           VALUES (%(decline)s, %(delay_ms)s, %(lost_requests_percent)s, %(lost_answers_percent)s)
           ON CONFLICT (one) DO UPDATE SET (decline, delay_ms, lost_requests_percent, lost_answers_percent, changed_at)
               = (EXCLUDED.decline, EXCLUDED.delay_ms, EXCLUDED.lost_requests_percent, EXCLUDED.lost_answers_percent,
                  clock_timestamp())""",
        asdict(faults),
    )
