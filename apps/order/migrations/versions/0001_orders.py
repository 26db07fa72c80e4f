"""Orders, their history, the outbox and the idempotency keys."""

from alembic import op

from chassis.postgres import tables

revision = "0001"
down_revision = None

ORDERS = """
CREATE TABLE orders (
    merchant         text        NOT NULL,
    id               uuid        NOT NULL,
    status           text        NOT NULL CHECK (status IN ('pending_payment', 'authorized', 'paid', 'payment_failed',
                                                           'canceling', 'canceled', 'refunded', 'expired')),
    currency         text        NOT NULL,
    total_amount     bigint      NOT NULL CHECK (total_amount >= 0),
    paid_amount      bigint      NOT NULL DEFAULT 0 CHECK (paid_amount BETWEEN 0 AND total_amount),
    refunded_amount  bigint      NOT NULL DEFAULT 0 CHECK (refunded_amount BETWEEN 0 AND paid_amount),
    refunding_amount bigint      NOT NULL DEFAULT 0 CHECK (refunding_amount >= 0),
    items            jsonb       NOT NULL,
    customer         text,
    payment_method   text        NOT NULL,
    capture          text        NOT NULL CHECK (capture IN ('automatic', 'manual')),
    metadata         jsonb       NOT NULL DEFAULT '{}',
    payment          jsonb,
    failure_reason   text,
    past_payments    uuid[]      NOT NULL DEFAULT '{}',
    command_id       uuid,
    swept_at         timestamptz,
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, id),
    CHECK (status <> 'paid' OR (paid_amount = total_amount AND (refunded_amount < total_amount OR total_amount = 0))),
    CHECK (status <> 'refunded' OR (total_amount > 0 AND refunded_amount = total_amount))
) WITH (fillfactor = 80);
CREATE INDEX orders_waiting ON orders (updated_at) WHERE status IN ('pending_payment', 'authorized', 'canceling');
"""

REFUNDS = """
CREATE TABLE refunds (
    merchant       text        NOT NULL,
    id             uuid        NOT NULL,
    order_id       uuid        NOT NULL,
    amount         bigint      NOT NULL CHECK (amount > 0),
    currency       text        NOT NULL,
    reason         text,
    to_cancel      boolean     NOT NULL DEFAULT false,
    status         text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'failed')),
    failure_reason text,
    declined       boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, id),
    FOREIGN KEY (merchant, order_id) REFERENCES orders
);
CREATE INDEX refunds_of_order ON refunds (merchant, order_id);
CREATE INDEX refunds_pending ON refunds (created_at) WHERE status = 'pending';
"""

# The same machine as order.model, where no program can get past it.
TRANSITIONS = """
CREATE FUNCTION orders_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.swept_at IS DISTINCT FROM OLD.swept_at THEN
        OLD.swept_at := NEW.swept_at; -- says nothing of the order: alone, it makes no new version
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'order %: version % cannot follow %', OLD.id, NEW.version, OLD.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.merchant, NEW.id, NEW.currency, NEW.total_amount, NEW.items, NEW.created_at)
        IS DISTINCT FROM (OLD.merchant, OLD.id, OLD.currency, OLD.total_amount, OLD.items, OLD.created_at) THEN
        RAISE EXCEPTION 'order %: what was ordered never changes', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT (CASE OLD.status
        WHEN 'pending_payment' THEN NEW.status IN ('paid', 'authorized', 'payment_failed', 'canceling')
        WHEN 'payment_failed' THEN NEW.status IN ('pending_payment', 'canceled')
        WHEN 'authorized' THEN NEW.status IN ('paid', 'canceling', 'expired')
        WHEN 'paid' THEN NEW.status IN ('refunded', 'canceling')
        WHEN 'canceling' THEN NEW.status IN ('canceled', 'paid', 'authorized')
        ELSE false END) THEN
        RAISE EXCEPTION 'order %: % cannot become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER orders_guard BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION orders_guard();
"""

EVENTS = """
CREATE TABLE order_events (
    merchant    text        NOT NULL,
    order_id    uuid        NOT NULL,
    version     bigint      NOT NULL,
    type        text        NOT NULL,
    from_status text,
    to_status   text        NOT NULL,
    actor       text        NOT NULL,
    data        jsonb       NOT NULL DEFAULT '{}',
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, order_id, version)
);
"""


def upgrade() -> None:
    """Create everything."""
    for statement in (
        ORDERS,
        TRANSITIONS,
        REFUNDS,
        EVENTS,
        tables.APPEND_ONLY,
        tables.append_only("order_events"),
        tables.OUTBOX,
        tables.INBOX,
        tables.IDEMPOTENCY_KEYS,
    ):
        op.execute(statement)
