"""The first order on a laptop: placed through the API, followed until it is paid, and shown."""

import os
import uuid
from collections.abc import Iterator

import requests

from tandem_client import ApiError, Client, Item, Order, ServerError, TandemError

ITEMS = (
    Item("tea-100", quantity=2, unit_amount=450, name="Green tea, 100 g"),
    Item("pot-1", quantity=1, unit_amount=1999, name="Teapot"),
)
# The simulator's, unless the services were given another provider and what it accepts.
PAYMENT_METHOD = os.environ.get("DEFAULT_PAYMENT_METHOD", "pm_ok")
# Seconds for one call with all its attempts; the API itself waits up to WAIT of them for the order to be paid.
PATIENCE, WAIT = 15, 5


class Refused(Exception):
    """The order service says that the order cannot be: the text is its answer."""


class Journey:
    """One order of merchant `demo` on its way through both services."""

    def __init__(self, order_url: str, key: str) -> None:
        self._session = _direct()
        self._tandem = Client(order_url, api_key=key, deadline=PATIENCE, session=self._session)
        self._order: Order | None = None
        self._idempotency_key = str(uuid.uuid4())

    @property
    def order(self) -> Order:
        """The order, once `paid` has placed it."""
        assert self._order is not None
        return self._order

    def paid(self) -> bool:
        """Place the order at the first call, look at it at the next ones; return whether it is paid.

        An answer that is lost or a service that is not there makes the answer False, as it is the next call's
        to find out: it repeats the same request with the same key. Raises `Refused`.
        """
        try:
            self._order = self._place() if self._order is None else self._tandem.get_order(self._order.id)
        except ApiError as error:
            if isinstance(error, ServerError):
                return False
            raise Refused(str(error)) from error
        except TandemError:
            return False
        return self._order.status == "paid"

    def lines(self) -> Iterator[str]:
        """The order and its history, for people."""
        amount = f"{self.order.total_amount / 100:.2f} {self.order.currency}"
        yield f"Order {self.order.id}, {' and '.join(str(item.name) for item in ITEMS)} for {amount}:"
        for event in self._tandem.order_events(self.order.id):
            change = f"{event.before} -> {event.after}" if event.before else event.after
            at = event.at.time().isoformat("milliseconds")
            yield f"  {event.version}  {at}  {event.type:<24}  {change}"

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def _place(self) -> Order:
        return self._tandem.place_order(
            items=ITEMS,
            currency="EUR",
            customer="cus_17",
            payment_method=PAYMENT_METHOD,
            wait=WAIT,
            idempotency_key=self._idempotency_key,
        )


def answers_ok(url: str) -> bool:
    """Whether a GET of this URL is answered with 200."""
    try:
        with _direct() as session:
            return session.get(url, timeout=PATIENCE).status_code == 200
    except requests.RequestException:
        return False


def _direct() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy has no business between us and ourselves
    return session
