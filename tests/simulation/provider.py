"""A provider that remembers everything, and checks at each execution that nobody is charged twice."""

from __future__ import annotations

from payment.model import EXPIRED_NOTE, Kind, Operation, Outcome, Result


class Broken(AssertionError):
    """An invariant does not hold."""


def check(holds: bool, message: str) -> None:
    """Raise Broken with this message unless the invariant holds."""
    if not holds:
        raise Broken(message)


class Record:
    """An operation that the provider has executed: its outcome, the key of the request for it, and its order."""

    __slots__ = ("key", "operation", "order_id", "outcome")

    def __init__(self, operation: Operation, outcome: Outcome, key: str, order_id: str) -> None:
        self.operation, self.outcome, self.key, self.order_id = operation, outcome, key, order_id


class Account:
    """What the provider holds of one payment. Amounts are in minor units."""

    __slots__ = ("authorized", "captured", "ended", "order_id", "refunded")

    def __init__(self, order_id: str) -> None:
        self.order_id = order_id
        self.authorized = self.captured = self.refunded = 0
        self.ended = False

    @property
    def net(self) -> int:
        """The captured amount less the refunded amount."""
        return self.captured - self.refunded

    @property
    def holds_money(self) -> bool:
        """Whether money of the customer is captured or authorized."""
        return self.net > 0 or (self.authorized > 0 and not self.ended)


class Provider:
    """Executes each operation id once; an earlier one gets its earlier outcome.

    It limits no amounts: the services have to keep the limits, and each execution checks that they did.
    """

    def __init__(self) -> None:
        self.books: dict[str, Record] = {}
        self.accounts: dict[str, Account] = {}
        self.expired: set[str] = set()
        self._by_key: dict[str, Record] = {}

    def send(self, operation: Operation, key: str, order_id: str) -> Outcome:
        """Execute the operation unless it was executed before; return its outcome. Raises Broken."""
        record = self.books.get(operation.id)
        if record is None:
            check(key not in self._by_key, f"the provider executed two operations for the request {key}")
            record = Record(operation, self._execute(operation, order_id), key, order_id)
            self.books[operation.id] = self._by_key[key] = record
        return record.outcome

    def executed(self, key: str) -> Record | None:
        """Return the record of the operation that was requested with this key, if it was executed."""
        return self._by_key.get(key)

    def expire(self, payment_id: str) -> None:
        """Release an authorization because it is too old."""
        self.expired.add(payment_id)
        self.accounts[payment_id].ended = True

    def of_order(self, order_id: str) -> list[Account]:
        """Return the accounts of all payments of an order."""
        return [account for account in self.accounts.values() if account.order_id == order_id]

    def _execute(self, operation: Operation, order_id: str) -> Outcome:
        reason = self._declines(operation)
        if reason is not None:
            return Outcome(Result.DECLINED, None, reason)
        account = self.accounts.setdefault(operation.payment_id, Account(order_id))
        match operation.kind:
            case Kind.SALE | Kind.AUTHORIZE:
                check(account.authorized == 0, "a payment was charged twice")
                account.authorized = operation.amount
                if operation.kind is Kind.SALE:
                    account.captured, account.ended = operation.amount, True
            case Kind.CAPTURE | Kind.VOID:
                check(not account.ended, f"a {operation.kind} of a payment that was captured or voided before")
                account.ended = operation.final
                account.captured += operation.amount if operation.kind is Kind.CAPTURE else 0
            case Kind.REFUND:
                account.refunded += operation.amount
        check(account.refunded <= account.captured, "more was refunded than captured")
        check(account.captured <= account.authorized, "more was captured than authorized")
        holding = sum(other.holds_money for other in self.of_order(order_id))
        check(holding <= 1, "two payments of an order hold money")
        return Outcome(Result.SUCCEEDED, f"ref-{operation.id}")

    def _declines(self, operation: Operation) -> str | None:
        """Return why the provider declines an operation; the payment method decides, and the age of the money."""
        method, kind = operation.payment_method, operation.kind
        if kind in (Kind.SALE, Kind.AUTHORIZE):
            return "card_declined" if method == "pm_declined" else None
        if kind is Kind.REFUND:
            return "refund_declined" if method == "pm_refund_declined" else None
        if operation.payment_id in self.expired:
            return "authorization_expired"
        if operation.note == EXPIRED_NOTE:
            return None  # so old an authorization can always be released
        return f"{kind}_declined" if method == f"pm_{kind}_declined" else None
