"""The faults that the simulator injects: for all payments of all merchants, until they are switched off.

They are stored in the simulator's schema, so all workers and pods have the same faults at the same time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from chassis.postgres.database import Row, Session, json_time


@dataclass(frozen=True, slots=True)
class Faults:
    """The injected faults: all charges are declined, answers are delayed, and a percentage of calls is lost.

    The simulator does not act on a lost request. If an answer is lost, it has acted.
    """

    decline: bool = False
    delay_ms: int = 0
    lost_requests_percent: int = 0
    lost_answers_percent: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any] | None) -> Faults:
        """Return the faults of a row of the table; without a row, none."""
        return cls(**{field.name: row[field.name] for field in fields(cls)}) if row else cls()

    def loses_request(self, operation_id: str, call: int) -> bool:
        """Return whether request number `call` for an operation is lost. Every process gets the same result."""
        return _percentile(f"request {operation_id} {call}") < self.lost_requests_percent

    def loses_answer(self, operation_id: str, call: int) -> bool:
        """Return whether the answer to request number `call` is lost. Every process gets the same result."""
        return _percentile(f"answer {operation_id} {call}") < self.lost_answers_percent


def _percentile(text: str) -> int:
    return zlib.crc32(text.encode()) % 100


ROW = "(SELECT to_jsonb(f) FROM simulator.faults f)"
"""SQL: the row as JSON, to be read by a statement that does something else, without another round trip."""

ANY = """EXISTS (SELECT FROM simulator.faults WHERE decline OR delay_ms > 0
                OR lost_requests_percent > 0 OR lost_answers_percent > 0)"""
"""SQL condition: a fault is injected."""


def read(session: Session) -> Row:
    """Return the view of the faults: body (JSON text)."""
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
    """Replace the faults."""
    session.execute(
        """INSERT INTO simulator.faults AS f (decline, delay_ms, lost_requests_percent, lost_answers_percent)
           VALUES (%(decline)s, %(delay_ms)s, %(lost_requests_percent)s, %(lost_answers_percent)s)
           ON CONFLICT (one) DO UPDATE SET (decline, delay_ms, lost_requests_percent, lost_answers_percent, changed_at)
               = (EXCLUDED.decline, EXCLUDED.delay_ms, EXCLUDED.lost_requests_percent, EXCLUDED.lost_answers_percent,
                  clock_timestamp())""",
        asdict(faults),
    )
