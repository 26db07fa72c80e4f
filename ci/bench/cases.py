"""The cases that are measured, each as one run under load."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle

from ci.bench import backlog, load
from ci.bench.floor_sql import Floor
from ci.bench.load import Run, Void
from ci.bench.stack import Stack
from ci.laptop.ports import ADDRESS

CLIENTS = 16
# Orders that are being paid while others are placed and read: more than can be paid meanwhile.
BACKLOG = 20_000
# Seconds that orders may take to be paid after the last one was placed.
TIMEOUT = 120

_LINE = {"sku": "tea-100", "name": "Green tea, 100 g", "quantity": 2, "unit_amount": 450}
BODY = json.dumps(
    {
        "currency": "EUR",
        "items": [_LINE, _LINE],
        "customer": "cus_17",
        "payment_method": "pm_ok",
        "metadata": {"cart": "9"},
    }
).encode()


class Cases:
    """Requests of one merchant to a stack. It keeps the ids of the orders that it placed."""

    def __init__(self, stack: Stack, floor_sql: Floor) -> None:
        self._stack, self._floor_sql = stack, floor_sql
        self._order = (ADDRESS, stack.ports.order)
        self._head = f"Host: bench\r\nAuthorization: Bearer {stack.keys['API_KEY']}\r\n"
        self._keys = (f"bench-{number}" for number in count())
        self._placed: list[str] = []

    def round(self, seconds: float) -> Iterator[tuple[str, Run]]:
        """Run every case once, for `seconds` each. Raises Void and RuntimeError."""
        yield "floor", self.floor(seconds)
        with self._stack.paused("order-relay"):
            yield "create order", self.create(seconds)
            yield "create order, 1 client", self.create(seconds / 2, clients=1)
        self._forget_commands()
        yield "get order", self.get(seconds)
        yield "list 20 orders", self._run(lambda: self._get("/v1/orders?limit=20"), seconds)
        yield "replay of a key", self.replay(seconds)
        yield "Prefer: wait, 1 client", self._run(lambda: self._post("Prefer: wait=5\r\n"), seconds / 2, b"201", 1)
        with self._stack.down("payment-web", "payment-relay"):
            yield "create order, payment down", self.create(seconds)
        self._forget_commands()
        yield "pgbench, 1 statement", self.floor_sql(seconds, placed_only=True)
        yield "pgbench, 3 transactions", self.floor_sql(seconds)
        yield "paid end to end", self.paid(seconds)
        backlog.fill(self._stack, BACKLOG)
        yield "create order, paying", self.create(seconds)
        self._check_backlog()
        yield "get order, paying", self.get(seconds)
        self._check_backlog()
        self._wait_until_paid()

    def of_growth(self, seconds: float) -> Iterator[tuple[str, Run]]:
        """Run the cases that must not slow down as tables grow. Raises Void."""
        yield "floor", self.floor(seconds)
        with self._stack.paused("order-relay"):
            yield "create order", self.create(seconds)
        self._forget_commands()
        yield "get order", self._run(self._some_order(), seconds)
        yield "list 20 orders", self._run(lambda: self._get("/v1/orders?limit=20"), seconds)

    def _some_order(self) -> Callable[[], bytes]:
        """Return requests for orders from the whole table, not only for the newest."""
        rows = self._stack.query(
            "order", "SELECT id FROM orders WHERE random() < 5000.0 / (SELECT count(*) FROM orders)"
        )
        ids = cycle([str(row[0]) for row in rows])
        return lambda: self._get(f"/v1/orders/{next(ids)}")

    def floor(self, seconds: float) -> Run:
        """Request a constant from Flask."""
        request = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
        address = (ADDRESS, self._stack.floor_port)
        return load.run(address, lambda: request, clients=CLIENTS, seconds=seconds, expect=b"200")

    def create(self, seconds: float, clients: int = CLIENTS) -> Run:
        """Place orders. The commands to payment stay in the outbox."""
        return self._run(self._post, seconds, b"201", clients, self._remember)

    def get(self, seconds: float) -> Run:
        """Read the last thousand orders in turn."""
        some = cycle(self._placed[-1000:])
        return self._run(lambda: self._get(f"/v1/orders/{next(some)}"), seconds)

    def replay(self, seconds: float) -> Run:
        """Repeat a request with its idempotency key."""
        request = self._post()
        return self._run(lambda: request, seconds, b"201")

    def paid(self, seconds: float) -> Run:
        """Place orders for `seconds`, and measure the time until the last one is paid in both databases."""
        began = time.perf_counter()
        run = self._run(self._post, seconds, b"201", answered=self._remember)
        self._wait_until_paid()
        run.seconds = time.perf_counter() - began
        return run

    def floor_sql(self, seconds: float, *, placed_only: bool = False) -> Run:
        """Run only the SQL of a paid order, or of a placed one, with pgbench."""
        rate = self._floor_sql.rate(CLIENTS, seconds, placed_only=placed_only)
        return Run(1.0, [CLIENTS / rate] * round(rate))

    def _wait_until_paid(self) -> None:
        """Wait until no command and no event is undelivered. Raises Void."""
        began = time.perf_counter()
        undelivered = "SELECT 1 FROM outbox WHERE delivered_at IS NULL LIMIT 1"
        while self._stack.query("order", undelivered) or self._stack.query("payment", undelivered):
            if time.perf_counter() - began > TIMEOUT:
                raise Void(f"orders are not paid after {TIMEOUT} s")
            time.sleep(0.05)  # such a query takes more than a millisecond

    def _check_backlog(self) -> None:
        if not backlog.left(self._stack):
            raise Void("the backlog was paid before the case ended")

    def _forget_commands(self) -> None:
        """Discard undelivered commands: paying for these orders would slow down the next case."""
        # TRUNCATE, because thousands of dead rows would slow down the next case too.
        self._stack.query("order", "TRUNCATE outbox")

    def _run(
        self,
        request: Callable[[], bytes],
        seconds: float,
        expect: bytes = b"200",
        clients: int = CLIENTS,
        answered: Callable[[bytes], None] | None = None,
    ) -> Run:
        return load.run(self._order, request, clients=clients, seconds=seconds, expect=expect, answered=answered)

    def _post(self, more: str = "") -> bytes:
        head = f"POST /v1/orders HTTP/1.1\r\n{self._head}{more}Content-Type: application/json\r\n"
        return f"{head}Idempotency-Key: {next(self._keys)}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY

    def _get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\n{self._head}\r\n".encode()

    def _remember(self, answer: bytes) -> None:
        at = answer.find(b"/v1/orders/") + 11  # in Location
        self._placed.append(answer[at : at + 36].decode())
