"""Payments, their operations, the ledger, the outbox, the idempotency keys, and the simulator's own memory."""

from alembic import op

from chassis.postgres import tables

revision = "0001"
down_revision = None

PAYMENTS = """
CREATE TABLE payments (
    merchant           text        NOT NULL,
    id                 uuid        NOT NULL,
    order_id           uuid        NOT NULL,
    status             text        NOT NULL CHECK (status IN ('processing', 'authorized', 'captured', 'failed',
                                                             'voided', 'expired')),
    amount             bigint      NOT NULL,
    currency           text        NOT NULL,
    authorized_amount  bigint      NOT NULL DEFAULT 0,
    captured_amount    bigint      NOT NULL DEFAULT 0,
    refunded_amount    bigint      NOT NULL DEFAULT 0,
    refunding_amount   bigint      NOT NULL DEFAULT 0,
    payment_method     text        NOT NULL,
    capture            text        NOT NULL CHECK (capture IN ('automatic', 'manual')),
    failure_reason     text,
    provider           text        NOT NULL,
    provider_reference text,
    busy               text        CHECK (busy IN ('capture', 'void')),
    expires_at         timestamptz,
    headers            jsonb       NOT NULL DEFAULT '{}',
    version            bigint      NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, id),
    CHECK (amount > 0 OR status = 'failed'),
    CHECK (refunded_amount >= 0 AND refunding_amount >= 0
           AND refunded_amount + refunding_amount <= captured_amount
           AND captured_amount <= authorized_amount
           AND (status = 'failed' OR authorized_amount <= amount))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX payments_one_live ON payments (merchant, order_id)
    WHERE status IN ('processing', 'authorized', 'captured');
CREATE INDEX payments_of_order ON payments (merchant, order_id, id);
CREATE INDEX payments_expiring ON payments (expires_at) WHERE status = 'authorized';
"""

TRANSITIONS = """
CREATE FUNCTION payments_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'payment %: version % cannot follow %', OLD.id, NEW.version, OLD.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.merchant, NEW.id, NEW.order_id, NEW.amount, NEW.currency, NEW.created_at)
        IS DISTINCT FROM (OLD.merchant, OLD.id, OLD.order_id, OLD.amount, OLD.currency, OLD.created_at) THEN
        RAISE EXCEPTION 'payment %: what it pays for never changes', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT (CASE OLD.status
        WHEN 'processing' THEN NEW.status IN ('authorized', 'captured', 'failed')
        WHEN 'authorized' THEN NEW.status IN ('captured', 'voided', 'expired')
        ELSE false END) THEN
        RAISE EXCEPTION 'payment %: % cannot become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_guard BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION payments_guard();
"""

OPERATIONS = """
CREATE TABLE operations (
    merchant           text        NOT NULL,
    id                 uuid        NOT NULL,
    payment_id         uuid        NOT NULL,
    kind               text        NOT NULL CHECK (kind IN ('sale', 'authorize', 'capture', 'void', 'refund')),
    amount             bigint      NOT NULL CHECK (amount > 0),
    currency           text        NOT NULL,
    status             text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'declined')),
    attempts           integer     NOT NULL DEFAULT 0,
    provider_reference text,
    reason             text,
    note               text,
    idempotency_key    text,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at         timestamptz,
    available_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until       timestamptz,
    lease_owner        text,
    last_error         text,
    PRIMARY KEY (merchant, id),
    FOREIGN KEY (merchant, payment_id) REFERENCES payments,
    CHECK ((status = 'pending') = (settled_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX operations_due ON operations (available_at) WHERE status = 'pending';
CREATE INDEX operations_of_payment ON operations (merchant, payment_id);
"""

LEDGER = """
CREATE TABLE ledger_entries (
    merchant     text        NOT NULL,
    id           uuid        NOT NULL,
    operation_id uuid        NOT NULL,
    payment_id   uuid        NOT NULL,
    account      text        NOT NULL,
    direction    text        NOT NULL CHECK (direction IN ('debit', 'credit')),
    amount       bigint      NOT NULL CHECK (amount > 0),
    currency     text        NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, id),
    FOREIGN KEY (merchant, operation_id) REFERENCES operations,
    UNIQUE (merchant, operation_id, account, direction)
);
CREATE INDEX ledger_of_payment ON ledger_entries (merchant, payment_id);
CREATE FUNCTION ledger_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_entries WHERE merchant = NEW.merchant AND operation_id = NEW.operation_id
               GROUP BY currency HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0) THEN
        RAISE EXCEPTION 'operation %: its ledger entries do not sum to zero', NEW.operation_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_balances AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_balances();
"""

SIMULATOR = """
CREATE SCHEMA simulator;
CREATE TABLE simulator.operations (
    key            uuid        PRIMARY KEY,
    kind           text        NOT NULL,
    merchant       text        NOT NULL,
    amount         bigint      NOT NULL,
    currency       text        NOT NULL,
    payment_method text        NOT NULL,
    charge         text,
    calls          integer     NOT NULL DEFAULT 1,
    result         text,
    reason         text,
    reference      text        UNIQUE,
    at             timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON simulator.operations (charge);
"""


def upgrade() -> None:
    """Create everything."""
    for statement in (
        PAYMENTS,
        TRANSITIONS,
        OPERATIONS,
        LEDGER,
        tables.APPEND_ONLY,
        tables.append_only("ledger_entries"),
        tables.OUTBOX,
        tables.IDEMPOTENCY_KEYS,
        SIMULATOR,
    ):
        op.execute(statement)
