"""Comments on all tables and columns."""

from alembic import op

from chassis.postgres import tables

revision = "0005"
down_revision = "0004"

PAYMENTS = (
    tables.comments(
        "payments",
        "Payments as they are now. Each change increments the version.",
        merchant="Merchant that owns the payment. Part of the primary key, so a query reads one merchant.",
        id="UUIDv7.",
        order_id="The order, in the order service.",
        status="State of the payment. The trigger payments_guard allows only legal transitions.",
        amount="Amount to pay, in minor units. Immutable.",
        currency="ISO 4217 code of all amounts.",
        authorized_amount="Amount that the provider authorized, in minor units. A sale authorizes what it captures.",
        captured_amount="Captured amount, in minor units. Refunds do not reduce it.",
        refunded_amount="Refunded amount, in minor units.",
        refunding_amount="Amount reserved for refunds without a known outcome, in minor units.",
        payment_method="Token of the provider. Never a card number.",
        capture="automatic: a sale. manual: an authorization, captured on request.",
        failure_reason="Why the payment failed.",
        provider="Provider that carries out the payment.",
        provider_reference="Id of the charge or authorization at the provider.",
        busy="Capture or void under way; at most one at a time.",
        expires_at="An authorization that is not captured by then is voided.",
        headers="X-Request-Id and trace context of the last request that changed it; sent with its events.",
        version="Incremented by each change; sent as the ETag. Order applies only a newer snapshot.",
        created_at="Time of creation.",
        updated_at="Time of the newest version.",
    )
    + tables.comment("INDEX payments_one_live", "At most one live payment of an order: it cannot be charged twice.")
    + tables.comment("INDEX payments_of_order", "Payments of one order.")
    + tables.comment("INDEX payments_expiring", "Authorizations to void.")
    + tables.comment("INDEX payments_of_status", "Lists of one status other than captured.")
    + tables.comment("TRIGGER payments_guard ON payments", "The state machine of a payment, enforced for every writer.")
)

OPERATIONS = (
    tables.comments(
        "operations",
        "Requests to providers. A row commits before the provider is called.",
        merchant="Merchant that owns the payment.",
        id="UUIDv7. The idempotency key at the provider, the same at each attempt.",
        payment_id="The payment.",
        kind="What is requested: sale, authorize, capture, void or refund.",
        amount="Amount, in minor units.",
        currency="ISO 4217 code.",
        status="pending while the outcome is unknown, which is neither success nor decline.",
        attempts="Number of claims. From the second on, the outcome is looked up before anything is sent again.",
        provider_reference="Id of the result at the provider.",
        reason="Why the provider declined.",
        note="Reason given for a refund; `expired` for the void of an expired authorization.",
        idempotency_key="Idempotency-Key of the request that caused it. The event repeats it to order.",
        created_at="Time of the request.",
        settled_at="Time at which the outcome was stored.",
        available_at="The row is not claimed before this time (backoff).",
        leased_until="End of the lease of a request or of the executor.",
        lease_owner="Holder of the lease. Only the holder can settle the operation.",
        last_error="Why the outcome is unknown.",
    )
    + tables.comment("INDEX operations_due", "Claims of the executor, gauges.")
    + tables.comment("INDEX operations_of_payment", "Operations of one payment.")
)

LEDGER = (
    tables.comments(
        "ledger_entries",
        "Double-entry ledger: the entries of an operation sum to zero in each currency. Append-only.",
        merchant="Merchant that owns the payment.",
        id="UUIDv7.",
        operation_id="Operation that moved the money.",
        payment_id="Payment of the operation.",
        account="provider_clearing (money at the provider) or merchant_payable (money owed to the merchant).",
        direction="debit or credit.",
        amount="Amount, in minor units; always positive.",
        currency="ISO 4217 code.",
        at="Time of the entry.",
    )
    + tables.comment("INDEX ledger_of_payment", "Entries of one payment.")
    + tables.comment("TRIGGER ledger_balances ON ledger_entries", "Refuses entries that do not sum to zero, at commit.")
    + tables.comment("FUNCTION append_only()", "Refuses UPDATE, DELETE and TRUNCATE.")
)

SIMULATOR = (
    tables.comment("SCHEMA simulator", "Memory of the simulated provider.")
    + tables.comments(
        "simulator.operations",
        "What the simulator was asked and did. It commits on a connection of its own, so a rollback does not undo it.",
        key="Id of the operation. It is the idempotency key: the same key never acts twice.",
        kind="sale, authorize, capture, void or refund.",
        merchant="Merchant that owns the payment.",
        amount="Amount, in minor units.",
        currency="ISO 4217 code.",
        payment_method="Token that determines the outcome, such as pm_declined.",
        charge="Reference of the charge that is captured, voided or refunded.",
        calls="Number of requests with this key.",
        result="succeeded or declined; NULL if the simulator has not acted, as if the request were lost.",
        reason="Why it declined.",
        reference="Id of what it did.",
        at="Time of the first request.",
    )
    + tables.comments(
        "simulator.faults",
        "Faults that are switched on for all payments; one row, or none if nothing was ever switched.",
        one="Always true, so that there is at most one row.",
        decline="Decline each new charge and authorization.",
        delay_ms="Delay of each response, in milliseconds.",
        lost_requests_percent="Share of the requests that are lost.",
        lost_answers_percent="Share of the responses that are lost after the simulator has acted.",
        changed_at="Time of the last change.",
    )
)


def upgrade() -> None:
    """Add the comments. Reads and writes are not blocked."""
    for statements in (
        PAYMENTS,
        OPERATIONS,
        LEDGER,
        tables.outbox_comments(
            "order",
            "In order payment.create, payment.capture, payment.void or payment.refund; in payment payment.updated.",
        ),
        tables.IDEMPOTENCY_KEYS_COMMENTS,
        SIMULATOR,
        tables.api_keys_comments("orders:read"),
        tables.RATE_LIMITS_COMMENTS,
        tables.ALEMBIC_COMMENTS,
    ):
        op.execute(statements)
