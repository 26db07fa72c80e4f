"""Whether what a session sees is as durable as a commit that was acknowledged.

With synchronous replication, a commit is acknowledged when a standby has it. A primary that restarts while a commit
waits for its standby shows that commit to everybody, although no standby has it: if the primary is then lost, so is the
commit. A retry must not be answered from it, because its caller would take that for an acknowledgement.
"""

from __future__ import annotations

import threading

from psycopg.pq import TransactionStatus

from chassis.postgres.session import Session

# An empty message in the write-ahead log. Its commit waits for a standby, which then has everything before it as well.
_MESSAGE = "SELECT pg_logical_emit_message(true, 'tandem', '') AS position"
_STATE = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS position"


class Confirmed:
    """Up to which position of the write-ahead log a standby is known to have everything."""

    def __init__(self) -> None:
        self._position = -1
        self._lock = threading.Lock()

    def wait(self, session: Session) -> None:
        """Wait until everything that this session can see is as durable as a new commit.

        It costs nothing without synchronous replication, and no commit if nothing was written since the last call of
        this process. Within a transaction, its own commit waits. Raises psycopg.OperationalError if no standby
        answers within the deadline of a call.
        """
        if not session.is_replicated():
            return
        if session.pgconn.transaction_status != TransactionStatus.IDLE:
            session.one(_MESSAGE)
            return
        state = session.one(_STATE)
        assert state is not None
        if state["position"] <= self._position:
            return
        session.one(_MESSAGE)
        with self._lock:
            self._position = max(self._position, state["position"])


confirmed = Confirmed()
"""What this process knows."""
