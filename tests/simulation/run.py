"""One run: both services, the provider and the network between them, changed by one step at a time.

A step is a name and a number. The name says what happens, the number decides every choice in it: which order, which
message, which fault. So a list of steps is a schedule, and the same list always leads to the same run.

Every transaction, every message and every call of the provider is a step of its own. A process that crashes between two
of them is one of which nothing follows: its message is lost, or its thread ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import order.model as orders
import payment.model as payments
from chassis.messaging.outbox import Message
from chassis.messaging.remote import Refused
from order import lines
from order.transition import Answer
from payment import ids
from payment.ids import What
from payment.model import Kind, Outcome, Result
from tests.simulation.ids import MERCHANT, Ids
from tests.simulation.order_side import OrderRow, OrderSide
from tests.simulation.payment_side import Backup, EventRow, OperationRow, PaymentRow, PaymentSide
from tests.simulation.provider import Provider, check
from tests.simulation.transport import Gateway

T = TypeVar("T")
Step = tuple[str, int]

LINES = (
    {"kind": "item", "quantity": 2, "unit_amount": 400, "tax_amount": 128},
    {"kind": "shipping", "quantity": 1, "unit_amount": 150},
    {"kind": "tax", "quantity": 1, "unit_amount": 50},
    {"kind": "discount", "quantity": 1, "unit_amount": -100},
)
FREE = (*LINES, {"kind": "discount", "quantity": 3, "unit_amount": -300})
TOTAL = lines.total(LINES)
AMOUNTS = (TOTAL, TOTAL, 500, 1000)
PARTS = (None, 300, 500, 1000)
METHODS = (
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_ok",
    "pm_declined",
    "pm_refund_declined",
    "pm_capture_declined",
    "pm_void_declined",
)
FAULTS = ("none", "none", "none", "request lost", "request late", "answer lost")
ROUNDS = 40
"""How often all loops may work before everything has come to rest."""
OUTAGE = 8
"""How often they work while the provider is away."""
UNKNOWN = Outcome(Result.UNKNOWN)


class Thread:
    """A thread of payment that carries out an operation, for a request of order or for the executor's loop."""

    __slots__ = ("claim", "operation_id", "outcome", "request")

    def __init__(self, tried: OperationRow, request: tuple[Message, int] | None) -> None:
        self.operation_id, self.claim, self.request = tried.operation.id, tried.claim, request
        self.outcome: Outcome | None = None


class Mail:
    """A response (`request` is set) or an event (`event` is set) on its way to order."""

    __slots__ = ("answer", "event", "request")

    def __init__(self, answer: Answer, request: tuple[Message, int] | None, event: EventRow | None) -> None:
        self.answer, self.request, self.event = answer, request, event


def pick(things: Sequence[T], number: int) -> T:
    """Return the element that `number` selects."""
    return things[number % len(things)]


class Run:
    """The state of a run. Each public method named in RULES is a step; it does nothing if it does not apply."""

    def __init__(self) -> None:
        self.ids = Ids()
        self.provider = Provider()
        self.payment = PaymentSide(self.ids, self.provider)
        self.order = OrderSide(self.ids, self.provider, self.payment)
        self.gateway = Gateway(self.payment)
        self.requests: list[tuple[Message, int]] = []
        self.mails: list[Mail] = []
        self.threads: list[Thread] = []
        self.late: list[OperationRow] = []
        self.order_backup: dict[str, OrderRow] | None = None
        self.payment_backup: Backup | None = None
        self.closed = False
        self.returned: set[str] = set()
        self.created_by_others: list[tuple[str, str, int, str, str]] = []

    def step(self, step: Step) -> bool:
        """Do one step. Returns whether it applied. Raises Broken."""
        return RULES[step[0]](self, step[1])

    # What merchants request, at order or directly at payment.

    def place(self, n: int) -> bool:
        """An order is placed; one in eight is free."""
        if len(self.order.rows) >= 3 or sum(o.facts.status not in orders.FINAL for o in self.order.rows.values()) > 1:
            return False
        n, free = divmod(n, 8)
        n, method = divmod(n, 8)
        self.order.place(lines.total(FREE if free == 7 else LINES), METHODS[method], "manual" if n % 2 else "automatic")
        return True

    def cancel(self, n: int) -> bool:
        """A merchant cancels an order."""
        order = self._order(n)
        if order is not None:
            self.order.cancel(order)
        return order is not None

    def capture(self, n: int) -> bool:
        """A merchant captures an authorized order, or a part of it; the rest is released or kept."""
        n, part = divmod(n, 4)
        n, kept = divmod(n, 2)
        order = self._order(n, orders.Status.AUTHORIZED)
        if order is not None:
            self.order.capture(order, PARTS[part], final=not kept)
        return order is not None

    def release(self, n: int) -> bool:
        """A merchant releases the rest of an order of which a part is captured."""
        partly = [order for order in self._orders(orders.Status.AUTHORIZED) if order.facts.paid_amount]
        if partly:
            self.order.release(pick(partly, n))
        return bool(partly)

    def refund(self, n: int) -> bool:
        """A merchant refunds a paid order, or a part of it."""
        n, part = divmod(n, 4)
        order = self._order(n, orders.Status.PAID)
        if order is not None:
            self.order.refund(order, PARTS[part])
        return order is not None

    def pay_again(self, n: int) -> bool:
        """A merchant tries another payment method."""
        n, method = divmod(n, 8)
        order = self._order(n, orders.Status.PAYMENT_FAILED)
        if order is not None:
            self.order.pay_again(order, METHODS[method])
        return order is not None

    def create_at_payment(self, n: int) -> bool:
        """A third party creates a payment for an order, of its amount or another one."""
        n, method = divmod(n, 8)
        n, amount = divmod(n, 4)
        order = self._order(n // 2)
        if order is None or not self._is_open():
            return False
        capture = "manual" if n % 2 else "automatic"
        request = (self.ids.new(), order.facts.id, AMOUNTS[amount], METHODS[method], capture)
        if self._create(*request):
            self.created_by_others.append(request)
        return True

    def act_at_payment(self, n: int) -> bool:
        """A third party captures, voids or refunds a payment, all of it or a part."""
        if not self.payment.rows or not self._is_open():
            return False
        n, part = divmod(n, 4)
        n, kept = divmod(n, 2)
        n, kind = divmod(n, 3)
        row, amount = pick(list(self.payment.rows.values()), n), None if kind == 1 else PARTS[part]
        self._act(row, (Kind.CAPTURE, Kind.VOID, Kind.REFUND)[kind], amount, self.ids.new(), final=not kept)
        return True

    # Commands, responses and events between the services.

    def relay_sends(self, n: int) -> bool:
        """Order's relay claims a command and sends it."""
        waiting = [order for order in self.order.rows.values() if order.undelivered() is not None]
        if not waiting:
            return False
        request = self.order.claim(pick(waiting, n))
        assert request is not None
        self.requests.append(request)
        return True

    def request_arrives(self, n: int) -> bool:
        """A command arrives at payment; a duplicate of it may stay in the network."""
        if not self.requests:
            return False
        n, again = divmod(n, 4)
        at = n % len(self.requests)
        request = self.requests[at] if again == 3 else self.requests.pop(at)
        self.payment.begun = None
        answer = self._send(request)
        if not self._begin(request) and answer is not None and not self._is_being_answered(answer):
            self.mails.append(Mail(answer, request, None))
        return True

    def response_or_event_arrives(self, n: int) -> bool:
        """A response or an event arrives at order; a duplicate may stay in the network, an event may stay due."""
        if not self.mails:
            return False
        n, again = divmod(n, 4)
        n, unmarked = divmod(n, 4)
        at = n % len(self.mails)
        mail = self.mails[at] if again == 3 else self.mails.pop(at)
        if mail.request is not None:
            self.order.receive_response(*mail.request, mail.answer)
        if mail.event is not None:
            self.order.receive_event(mail.event.order_id, mail.answer)
            mail.event.delivered = mail.event.delivered or unmarked != 3
        return True

    def event_is_sent(self, n: int) -> bool:
        """Payment's relay sends the oldest event of an order that is not delivered."""
        due: dict[str, EventRow] = {}
        for event in self.payment.events:
            if not event.delivered:
                due.setdefault(event.order_id, event)
        if not due:
            return False
        event = pick(list(due.values()), n)
        self.mails.append(Mail(event.answer, None, event))
        return True

    def message_is_lost(self, n: int) -> bool:
        """A message between the services is lost, or the process that was to send it crashes."""
        n, to_order = divmod(n, 2)
        messages: list[Mail] | list[tuple[Message, int]] = self.mails if to_order else self.requests
        if messages:
            messages.pop(n % len(messages))
        return bool(messages)

    def sweep(self, n: int) -> bool:
        """Order's sweep makes the commands of a waiting order due again."""
        order = self._order(n)
        if order is not None:
            self.order.sweep(order)
        return order is not None

    # The provider, and the threads of payment that call it.

    def thread_advances(self, n: int) -> bool:
        """A thread calls the provider; or commits the outcome, and responds."""
        if not self.threads:
            return False
        n, fault = divmod(n, 6)
        at = n % len(self.threads)
        thread = self.threads[at]
        if thread.outcome is None:
            thread.outcome = self._call(thread, FAULTS[fault])
        else:
            self._finish(self.threads.pop(at))
        return True

    def thread_crashes(self, n: int) -> bool:
        """A thread of payment ends before its next transaction."""
        if not self.threads:
            return False
        self.threads.pop(n % len(self.threads))
        return True

    def lease_runs_out(self, n: int) -> bool:
        """The lease of a request's operation runs out, and no loop claims it yet; its thread has the outcome."""
        operations = self.payment.operations
        late = [
            tried
            for thread in self.threads
            if thread.request is not None
            and thread.outcome is not None
            and (tried := operations.get(thread.operation_id)) is not None
            and (tried.claim, tried.status) == (thread.claim, None)
        ]
        if not late:
            return False
        pick(late, n).is_leased = False
        return True

    def executor_claims(self, n: int) -> bool:
        """The lease of an operation expires, and the executor's loop claims it."""
        unsettled = self.payment.unsettled()
        if not unsettled:
            return False
        tried = pick(unsettled, n)
        self.payment.claim(tried)
        self.threads.append(Thread(tried, None))
        return True

    def late_request_arrives(self, n: int) -> bool:
        """A delayed request arrives at the provider; nobody waits for the answer."""
        if not self.late:
            return False
        self._execute(self.late.pop(n % len(self.late)))
        return True

    def provider_is_away(self, n: int) -> bool:
        """The provider loses every request for a while; all loops of both services go on."""
        for _ in range(OUTAGE):
            self._work("request lost")
        return True

    def authorization_expires(self, n: int) -> bool:
        """The provider releases an old authorization, or payment voids it because it is old."""
        authorized = [row for row in self.payment.rows.values() if row.facts.status is payments.Status.AUTHORIZED]
        if not authorized:
            return False
        n, at_payment = divmod(n, 2)
        row = pick(authorized, n)
        if at_payment:
            self._expire(row)
        elif not self.provider.accounts[row.id].ended:
            self.provider.expire(row.id)
        return True

    def keys_are_purged(self, n: int) -> bool:
        """Payment deletes all idempotency keys that it may delete: they are a month old, and no backup is."""
        self.payment.purge()
        self.payment_backup = None
        return True

    # Backups and restores.

    def order_is_backed_up(self, n: int) -> bool:
        """Copy order's database."""
        self.order_backup = self.order.backup()
        return True

    def payment_is_backed_up(self, n: int) -> bool:
        """Copy payment's database. The provider has no backup: it remembers everything."""
        self.payment_backup = Backup(self.payment)
        return True

    def order_is_restored(self, n: int) -> bool:
        """Restore order's database from its backup; then run both resyncs."""
        if self.order_backup is None:
            return False
        self._end_all_messages()
        self.order.restore(self.order_backup)
        self.payment.tell_all()
        self.order.ask_again()
        return True

    def payment_is_restored(self, n: int) -> bool:
        """Restore payment's database from its backup; then run both resyncs.

        Third parties may repeat the requests that were lost, because the provider was not asked yet, under the same
        keys. They make new requests once order has asked again for everything. If order was restored before, and has
        not heard yet of every payment, the resync begins at that moment, and tells it again of all.
        """
        if self.payment_backup is None:
            return False
        self._end_all_messages()
        self.threads.clear()
        telling = self.payment.is_telling
        self.payment.restore(self.payment_backup)
        if telling:
            self.payment.tell_all()
        for request in self.created_by_others if n % 2 else ():
            if ids.derive(MERCHANT, request[0], What.PAYMENT) not in self.payment.rows:
                self._create(*request)
        self.order.forget_lost_payments()
        self.order.ask_again()
        self.closed = True
        return True

    def _end_all_messages(self) -> None:
        """Lose all messages under way: a restore takes longer than a request, between the services or to the provider.

        Another schedule has those that arrive before it.
        """
        self.requests.clear()
        self.mails.clear()
        self.late.clear()
        self.threads = [thread for thread in self.threads if thread.request is None]

    def rest(self) -> None:
        """End the faults, and let all loops work until nothing is left to do. Raises Broken after 40 rounds."""
        for _ in range(ROUNDS):
            while self.late:
                self._execute(self.late.pop())
            for row in list(self.payment.rows.values()):
                if row.id in self.provider.expired and row.facts.status is payments.Status.AUTHORIZED:
                    self._expire(row)
                if row.order_id in self.order.lost:
                    self._return_orphan(row)
            self._work("none")
            if not self._unfinished():
                return
        check(False, f"nothing comes to rest: {', '.join(self._unfinished())}")

    def _work(self, fault: str) -> None:
        """Let every loop of both services work once."""
        for thread in self.threads:
            thread.outcome = thread.outcome or self._call(thread, fault)
            self._finish(thread)
        self.threads.clear()
        for tried in self.payment.unsettled():
            self.payment.claim(tried)
            thread = Thread(tried, None)
            thread.outcome = self._call(thread, fault)
            self._finish(thread)
        self._deliver_all()

    def _deliver_all(self) -> None:
        for order in self.order.rows.values():
            if order.waits():
                self.order.sweep(order)
            request = self.order.claim(order)
            if request is not None:
                self.requests.append(request)
        while self.requests:
            self.request_arrives(0)
        for event in self.payment.events:
            if not event.delivered:
                self.mails.append(Mail(event.answer, None, event))
        while self.mails:
            self.response_or_event_arrives(0)

    def _unfinished(self) -> list[str]:
        waiting = [
            f"an order is {order.facts.status}, asked for {[a.command for a in order.facts.asked]}"
            for order in self.order.rows.values()
            if order.waits()
        ]
        pending = [f"a {tried.operation.kind} is pending" for tried in self.payment.unsettled()]
        events = ["an event is not delivered" for event in self.payment.events if not event.delivered]
        orphans = [
            "an order that was lost holds money"
            for row in self.payment.rows.values()
            if row.order_id in self.order.lost and self._orphan_action(row) is not None
        ]
        return [*waiting, *pending, *events[:1], *orphans, *["a thread works"] * len(self.threads)]

    def _order(self, n: int, status: orders.Status | None = None) -> OrderRow | None:
        rows = self._orders(status)
        return pick(rows, n) if rows else None

    def _orders(self, status: orders.Status | None) -> list[OrderRow]:
        return [order for order in self.order.rows.values() if status is None or order.facts.status is status]

    def _is_open(self) -> bool:
        """Return whether third parties have access to payment."""
        self.closed = self.closed and any(order.undelivered() for order in self.order.rows.values())
        return not self.closed

    def _send(self, request: tuple[Message, int]) -> Answer | None:
        """Return payment's response as order's gateway reads it; None if the relay has to send the command again."""
        try:
            return self.gateway.send(request[0])
        except Refused:
            return None

    def _is_being_answered(self, answer: Answer) -> bool:
        """Return whether another request's thread has the payment's operation: its outcome is an answer, no event.

        Then payment refuses the command, so that order sends it again.
        """
        operations = self.payment.operations
        return any(
            (tried := operations.get(thread.operation_id)) is not None
            and thread.request is not None
            and tried.claim == thread.claim
            and tried.is_leased
            and tried.status is None
            and answer.payment is not None
            and tried.operation.payment_id == answer.payment.id
            for thread in self.threads
        )

    def _begin(self, request: tuple[Message, int] | None) -> bool:
        """Start a thread for the operation that was just stored, if there is one."""
        begun = self.payment.begun
        if begun is not None:
            self.threads.append(Thread(begun, request))
        return begun is not None

    def _call(self, thread: Thread, fault: str) -> Outcome:
        tried = self.payment.operations.get(thread.operation_id)
        if tried is None or fault == "request lost":
            return UNKNOWN
        if fault == "request late":
            self.late.append(tried)
            return UNKNOWN
        outcome = self._execute(tried)
        return UNKNOWN if fault == "answer lost" else outcome

    def _execute(self, tried: OperationRow) -> Outcome:
        order_id = self.payment.rows[tried.operation.payment_id].order_id
        return self.provider.send(tried.operation, tried.key, order_id)

    def _finish(self, thread: Thread) -> None:
        assert thread.outcome is not None
        self.payment.settle(thread.operation_id, thread.claim, thread.outcome, answered=thread.request is not None)
        if thread.request is not None:
            answer = self._send(thread.request)
            if answer is not None:
                self.mails.append(Mail(answer, thread.request, None))

    def _create(self, key: str, order_id: str, amount: int, method: str, capture: str) -> bool:
        """Create a payment for a third party; return whether it is new."""
        self.payment.begun = None
        self.payment.create(key, order_id, amount, method, capture)
        return self._begin(None)

    def _act(self, row: PaymentRow, kind: Kind, amount: int | None, key: str, *, final: bool = True) -> bool:
        """Begin an operation for somebody who calls payment directly; return whether payment allows it."""
        self.payment.begun = None
        if kind is Kind.REFUND:
            self.payment.refunds_by_others.setdefault(row.order_id, set()).add(key)
        self.payment.act(key, row.id, kind, amount, final=final)
        return self._begin(None)

    def _expire(self, row: PaymentRow) -> None:
        self.payment.begun = None
        self.payment.expire(row.id)
        self._begin(None)

    def _orphan_action(self, row: PaymentRow) -> Kind | None:
        """Return what an operator does with the payment of an order that was lost."""
        if row.facts.status is payments.Status.AUTHORIZED and f"orphan void {row.id}" not in self.returned:
            return Kind.VOID
        left = row.facts.captured - row.facts.refunded - row.facts.refunding
        if left > 0 and f"orphan refund {row.id}" not in self.returned:
            return Kind.REFUND
        return None

    def _return_orphan(self, row: PaymentRow) -> None:
        action = self._orphan_action(row)
        if action is not None:
            key = f"orphan {action} {row.id}"
            if self._act(row, action, None, key):
                self.returned.add(key)


RULES: dict[str, Callable[[Run, int], bool]] = {
    name: getattr(Run, name)
    for name in (
        "place",
        "cancel",
        "capture",
        "release",
        "refund",
        "pay_again",
        "create_at_payment",
        "act_at_payment",
        "relay_sends",
        "request_arrives",
        "response_or_event_arrives",
        "event_is_sent",
        "message_is_lost",
        "sweep",
        "thread_advances",
        "thread_crashes",
        "lease_runs_out",
        "executor_claims",
        "late_request_arrives",
        "provider_is_away",
        "authorization_expires",
        "keys_are_purged",
        "order_is_backed_up",
        "payment_is_backed_up",
        "order_is_restored",
        "payment_is_restored",
    )
}
