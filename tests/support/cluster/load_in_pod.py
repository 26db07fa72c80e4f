"""Places and reads orders at a steady rate over keep-alive connections. Runs in a pod, with the standard library only.

The argument is JSON: url, key, rate (requests per second), connections, seconds (at most). Commands are read from
standard input, and each is answered with a line of JSON: `report` with the counts so far, `key KEY` also, and it uses
this key from now on, `stop` with the outcome. No request is repeated: one without a success response has failed.
"""

from __future__ import annotations

import http.client
import json
import random
import select
import socket
import sys
import threading
import time
import urllib.parse
import uuid
from typing import Any

TIMEOUT = 10.0
PLACING = 6  # one in 6 requests places an order, the others read one
ITEMS = [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}]
ORDER = {"currency": "EUR", "payment_method": "pm_ok", "items": ITEMS}


def address_of(name: str) -> str:
    """Return a Service's address, which does not change. It is looked up once: the cluster's DNS is not under test.

    Raises OSError if the lookup fails for a minute.
    """
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError:
            if time.monotonic() > deadline:
                raise


class Load:
    """The state that all connections share."""

    def __init__(self, url: str, key: str, rate: float, connections: int, seconds: float) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.address = parts.netloc, (address_of(parts.hostname or ""), parts.port or 80)
        self.key, self.rate, self.connections = key, rate, connections
        self.begin = time.monotonic()
        self.end = self.begin + seconds
        self.answered = self.reconnected = 0
        self.failures: list[str] = []
        self.placed: list[str] = []
        self.latencies: list[float] = []

    def send_all(self, number: int) -> None:
        """Send requests over one connection, at its share of the rate."""
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT)
        pause = self.connections / self.rate
        due = self.begin + pause * number / self.connections
        while (now := time.monotonic()) < self.end:
            if now < due:
                time.sleep(due - now)
            due += pause
            self.send(connection)

    def send(self, connection: http.client.HTTPConnection) -> None:
        """Send one request and record its result."""
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()  # the server has closed it; clients check before they send
        self.reconnected += connection.sock is None
        headers = {"Host": self.host, "Authorization": f"Bearer {self.key}"}
        method, path = "GET", "/v1/orders/"
        body: str | None = None
        if not self.placed or random.randrange(PLACING) == 0:
            method, path, body = "POST", "/v1/orders", json.dumps(ORDER)
            headers |= {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
        else:
            path += random.choice(self.placed)
        begin = time.monotonic()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            self.fail(method, f"{type(error).__name__}: {error}", begin)
            return
        if answer.status != (201 if body else 200):
            self.fail(method, f"{answer.status} {json.dumps(content)[:500]}", begin)
            return
        self.answered += 1
        self.latencies.append(time.monotonic() - begin)
        if body:
            self.placed.append(content["id"])

    def fail(self, method: str, what: str, begin: float) -> None:
        """Record a failure with its start and duration."""
        took = time.monotonic() - begin
        self.failures.append(f"{begin - self.begin:.1f} s, after {took:.2f} s: {method}: {what}")

    def wait_paid(self, timeout: float) -> dict[str, Any]:
        """Read the acknowledged orders until all are paid or `timeout` seconds have passed. Return the result."""
        connection = http.client.HTTPConnection(*self.address, timeout=TIMEOUT)
        deadline = time.monotonic() + timeout
        paid, left = 0, list(self.placed)
        while left and time.monotonic() < deadline:
            waiting = []
            for order in left:
                headers = {"Host": self.host, "Authorization": f"Bearer {self.key}"}
                connection.request("GET", f"/v1/orders/{order}", headers=headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if (answer.status, content.get("status"), content.get("total_amount")) != (200, "paid", 900):
                    waiting.append(order)
            paid += len(left) - len(waiting)
            left = waiting
        return {"paid": paid, "not_paid": left[:10]}

    def done(self) -> dict[str, Any]:
        """Return the counts so far."""
        return {
            "seconds": min(time.monotonic(), self.end) - self.begin,
            "answered": self.answered,
            "placed": len(self.placed),
            "reconnected": self.reconnected,
            "failed": len(self.failures),
            "failures": self.failures[:10],
        }


def main() -> None:
    """Run until `stop`. Requests also end after `seconds`."""
    load = Load(**json.loads(sys.argv[1]))
    threads = [threading.Thread(target=load.send_all, args=(number,)) for number in range(load.connections)]
    for thread in threads:
        thread.start()
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "stop":
            break
        if word == "key":
            load.key = rest
        print(json.dumps(load.done()), flush=True)
    load.end = time.monotonic()
    for thread in threads:
        thread.join()
    done = load.done() | {"outcome": True}
    done["rate"] = done["answered"] / done["seconds"]
    latencies = sorted(load.latencies)
    done["p50"], done["p99"] = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    done["slowest"] = latencies[-1]
    print(json.dumps(done | load.wait_paid(60)), flush=True)


if __name__ == "__main__":
    main()
