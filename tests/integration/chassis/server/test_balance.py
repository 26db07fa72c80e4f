"""Kept-alive connections are spread evenly over the workers."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import psutil

from tests.support.eventually import eventually
from tests.support.fixtures.processes import stack
from tests.support.pair import Client
from tests.support.raw_http import connect, receive
from tests.support.stack import Stack

__all__ = ["stack"]

ASK = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def held_by(worker: psutil.Process, ports: set[int]) -> int:
    return sum(1 for found in worker.net_connections("tcp") if found.raddr and found.raddr.port in ports)


def both(master: psutil.Process) -> list[psutil.Process]:
    """Return the master's two workers, or nothing while there are not two."""
    workers = [child for child in master.children() if child.status() != psutil.STATUS_ZOMBIE]
    return workers if len(workers) == 2 else []


def served_by_all(service: Client, workers: list[psutil.Process]) -> bool:
    """Return whether each worker has started: it accepts one of a few new connections."""
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(connect(service)) for _ in range(4)]
        for connection in connections:
            connection.sendall(ASK)
            receive(connection)
        ports = {connection.getsockname()[1] for connection in connections}
        return all(held_by(worker, ports) for worker in workers)


def test_connections_are_shared_evenly_also_after_a_worker_was_killed(stack: Stack) -> None:
    running = stack.processes["order-web"].running
    assert running is not None
    master = psutil.Process(running.pid)
    for _ in range(2):
        workers = eventually(lambda: both(master), "there are two workers")
        eventually(partial(served_by_all, stack.order, workers), "both workers accept connections")
        with ExitStack() as open_ones:
            connections = [open_ones.enter_context(connect(stack.order)) for _ in range(16)]
            for connection in connections:
                connection.sendall(ASK)
            assert {receive(connection)[0] for connection in connections} == {200}
            ports = {connection.getsockname()[1] for connection in connections}
            shares = [held_by(worker, ports) for worker in workers]
            assert sum(shares) == 16
            assert abs(shares[0] - shares[1]) <= 2, shares
        workers[0].kill()
        workers[0].wait(10)
