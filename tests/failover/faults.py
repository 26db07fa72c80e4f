"""Faults of the cluster. Each is repaired when another leader takes writes, and the cluster is complete after that."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.failover.cluster import Cluster, Member, wait_for
from tests.failover.measure import Leader

PROMOTION = 90.0
"""Seconds within which another leader must take writes."""

LATER = 3.0
"""Seconds from then until the fault is repaired."""


@dataclass
class Fault:
    """A fault that occurred: its name, and when it began and was over, on the monotonic clock."""

    name: str
    began: float
    ended: float = 0.0


class Faults:
    """Causes each kind of fault once, in an order from the seed, until `until` on the monotonic clock."""

    def __init__(self, seed: int, cluster: Cluster, leader: Leader, until: float) -> None:
        self._random = random.Random(f"{seed}/failover")
        self._cluster, self._leader, self._until = cluster, leader, until
        self.happened: list[Fault] = []
        self.now = ""

    @property
    def injected(self) -> Counter[str]:
        """How often each fault occurred."""
        return Counter(fault.name for fault in self.happened)

    def run(self) -> None:
        """Cause a fault, wait until the cluster is complete again, and repeat."""
        kinds = self._random.sample(KINDS, len(KINDS))
        time.sleep(self._random.uniform(3, 5))  # callers begin with one order of each kind
        for name, cause in kinds:
            if time.monotonic() > self._until:
                return
            self.now = name
            fault = Fault(name, time.monotonic())
            self.happened.append(fault)
            cause(self)
            self._cluster.wait_until_complete()
            self.now = ""
            time.sleep(self._random.uniform(2, 4))
            fault.ended = time.monotonic()

    def kill_leader(self) -> None:
        """Kill the leader's PostgreSQL and its Patroni, as the end of a machine does. It comes back as a standby."""
        leader = self._current()
        leader.kill()
        self._await_another(leader)
        leader.start()

    def lose_leader(self) -> None:
        """Kill the leader, and remove its data."""
        leader = self._current()
        leader.kill()
        leader.lose_data()
        self._await_another(leader)
        leader.start()

    def freeze_leader(self) -> None:
        """Freeze the leader's PostgreSQL and its Patroni, as a paused machine is. It goes on where it stopped."""
        leader = self._current()
        leader.signal(signal.SIGSTOP)
        try:
            self._await_another(leader)
        finally:
            leader.signal(signal.SIGCONT)

    def cut_leader(self) -> None:
        """Cut the leader off from etcd and from its standbys. The services still reach it."""
        leader = self._current()
        leader.cut()
        try:
            self._await_another(leader)
        finally:
            leader.heal()

    def kill_standby(self) -> None:
        """Kill a standby: its PostgreSQL and its Patroni."""
        leader = self._current()
        standby = self._random.choice([each for each in self._cluster.members.values() if each is not leader])
        standby.kill()
        time.sleep(LATER)
        standby.start()

    def _current(self) -> Member:
        leader = wait_for(self._cluster.leader, "there is a leader", PROMOTION)
        assert leader is not None
        return leader

    def _await_another(self, lost: Member) -> None:
        """Wait until another member is the leader and takes writes, and LATER seconds more."""
        others = [member for member in self._cluster.members.values() if member is not lost]

        def is_led_by_another() -> bool:
            return any(
                each["role"] == "leader" and each["state"] == "running" and each["name"] != lost.name
                for member in others
                for each in member.members()
            )

        wait_for(is_led_by_another, "another member is the leader", PROMOTION)
        since = time.monotonic()
        wait_for(lambda: (self._leader.commits.times or [0])[-1] > since, "it takes writes", PROMOTION)
        time.sleep(LATER)


KINDS: list[tuple[str, Callable[[Faults], None]]] = [
    ("kill -9 the leader", Faults.kill_leader),
    ("freeze the leader", Faults.freeze_leader),
    ("cut the leader off", Faults.cut_leader),
    ("kill -9 a standby", Faults.kill_standby),
    ("lose the leader and its disk", Faults.lose_leader),
]
"""The kinds of faults, by name."""
