"""The first order of a local stack: placed through the API, followed until it is paid, and printed."""

import os
import uuid
from collections.abc import Iterator

import requests

from tandem_client import ApiError, Client, Item, Order, ServerError, TandemError

ITEMS = (
    Item("tea-100", quantity=2, unit_amount=450, name="Green tea, 100 g"),
    Item("pot-1", quantity=1, unit_amount=1999, name="Teapot"),
)
# The simulator accepts pm_ok. Another provider needs a payment method of its own.
PAYMENT_METHOD = os.environ.get("DEFAULT_PAYMENT_METHOD", "pm_ok")
# Seconds: for one client call with all its retries, and for the API to wait for the payment (Prefer: wait).
TIMEOUT, WAIT = 15, 5


class Refused(Exception):
    """The order service rejected the order. The message is its response."""


class Journey:
    """One order of merchant `demo` on its way through both services."""

    def __init__(self, order_url: str, key: str) -> None:
        self._session = _session()
        self._tandem = Client(order_url, api_key=key, deadline=TIMEOUT, session=self._session)
        self._order: Order | None = None
        self._idempotency_key = str(uuid.uuid4())

    @property
    def order(self) -> Order:
        """The order, once `paid` has placed it."""
        assert self._order is not None
        return self._order

    def paid(self) -> bool:
        """Place the order on the first call, read it on later ones. Return whether it is paid.

        Returns False if a service does not respond or fails (5xx). The next call then repeats the request with the
        same idempotency key. Raises `Refused`.
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
        """Yield the order and its history as text."""
        amount = f"{self.order.total_amount / 100:.2f} {self.order.currency}"
        yield f"Order {self.order.id}, {' and '.join(str(item.name) for item in ITEMS)} for {amount}:"
        for event in self._tandem.order_events(self.order.id):
            change = f"{event.before} -> {event.after}" if event.before else event.after
            at = event.at.time().isoformat("milliseconds")
            yield f"  {event.version}  {at}  {event.type:<24}  {change}"

    def close(self) -> None:
        """Close the HTTP connections."""
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
    """Return whether a GET request to this URL is answered with 200."""
    try:
        with _session() as session:
            return session.get(url, timeout=TIMEOUT).status_code == 200
    except requests.RequestException:
        return False


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # all requests go to this machine, never through a proxy
    return session
