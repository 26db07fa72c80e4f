-- The database of the order service, as its migrations leave it. `make schema` writes this file.
-- Amounts are whole minor units of their currency; times are UTC.


-- Functions -----------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION public.order_events_base()
 RETURNS bigint
 LANGUAGE sql
 STABLE
AS $$SELECT 0::bigint$$;
COMMENT ON FUNCTION order_events_base() IS 'What is added to a transaction id to make the position of an event. A restore makes it larger.';

CREATE OR REPLACE FUNCTION public.advance_order_events()
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $$
BEGIN
    LOCK TABLE order_events IN SHARE ROW EXCLUSIVE MODE;
    IF order_events_base() >= 1::bigint << 62 THEN
        RAISE EXCEPTION 'the positions of events were advanced too often' USING ERRCODE = 'check_violation';
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION order_events_base() RETURNS bigint LANGUAGE sql STABLE AS %L',
                   'SELECT ' || order_events_base() + (1::bigint << 48) || '::bigint');
END $$;
COMMENT ON FUNCTION advance_order_events() IS 'After a restore: lets the positions of new events begin behind all positions that were handed out before.';


-- Orders --------------------------------------------------------------------------------------------------------------

CREATE TABLE orders (
    merchant         text        NOT NULL,
    id               uuid        NOT NULL,
    status           text        NOT NULL
        CHECK (status IN ('pending_payment', 'authorized', 'paid', 'payment_failed', 'canceling', 'canceled',
        'refunded', 'expired')),
    currency         text        NOT NULL,
    total_amount     bigint      NOT NULL CHECK (total_amount >= 0),
    paid_amount      bigint      NOT NULL DEFAULT 0,
    refunded_amount  bigint      NOT NULL DEFAULT 0,
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
    asked            jsonb       NOT NULL DEFAULT '[]',
    asked_version    bigint,
    last_error       jsonb,
    reference        text,
    PRIMARY KEY (merchant, id),
    CHECK (paid_amount >= 0 AND paid_amount <= total_amount),
    CHECK (refunded_amount >= 0 AND refunded_amount <= paid_amount),
    CONSTRAINT orders_paid
        CHECK (status <> 'paid' OR total_amount = 0 OR paid_amount > 0 AND refunded_amount < paid_amount),
    CONSTRAINT orders_refunded CHECK (status <> 'refunded' OR paid_amount > 0 AND refunded_amount = paid_amount)
) WITH (fillfactor = 80);
COMMENT ON TABLE orders IS 'Orders as they are now. Each change increments the version and adds a row to order_events.';
COMMENT ON COLUMN orders.merchant IS 'Merchant that owns the order. Part of the primary key, so a query reads one merchant.';
COMMENT ON COLUMN orders.id IS 'UUIDv7. Chosen by the caller if the order was placed with POST /orders.';
COMMENT ON COLUMN orders.status IS 'State of the order. The trigger orders_guard allows only legal transitions.';
COMMENT ON COLUMN orders.currency IS 'ISO 4217 code of all amounts.';
COMMENT ON COLUMN orders.total_amount IS 'Amount to pay, in minor units. Immutable.';
COMMENT ON COLUMN orders.paid_amount IS 'Captured amount, in minor units: of an authorized order, what is captured so far. Refunds do not reduce it.';
COMMENT ON COLUMN orders.refunded_amount IS 'Refunded amount, in minor units.';
COMMENT ON COLUMN orders.refunding_amount IS 'Amount reserved for refunds without a known outcome, in minor units.';
COMMENT ON COLUMN orders.items IS 'Lines as they were placed: kind, sku, name, quantity, unit_amount, amount, tax_amount. Immutable. Without kind and tax_amount if a release before 0.3 or the sketch''s API wrote them.';
COMMENT ON COLUMN orders.customer IS 'The merchant''s reference for the customer.';
COMMENT ON COLUMN orders.payment_method IS 'Token of the provider, used by the newest payment. Never a card number.';
COMMENT ON COLUMN orders.capture IS 'automatic: the payment is captured at once. manual: it is authorized, and captured on request.';
COMMENT ON COLUMN orders.metadata IS 'Data of the merchant, not interpreted.';
COMMENT ON COLUMN orders.payment IS 'Newest snapshot of the current payment: id, version, status, amounts. NULL before the first.';
COMMENT ON COLUMN orders.failure_reason IS 'Why the payment failed, while the status is payment_failed.';
COMMENT ON COLUMN orders.past_payments IS 'Ids of earlier payments. Snapshots of these are ignored, unless one is live again after a restore.';
COMMENT ON COLUMN orders.command_id IS 'Newest command in the outbox. The sweep sends it again if the order waits too long.';
COMMENT ON COLUMN orders.swept_at IS 'Last time that the sweep found the order waiting. Setting it makes no new version.';
COMMENT ON COLUMN orders.version IS 'Version of the newest row in order_events; sent as the ETag.';
COMMENT ON COLUMN orders.created_at IS 'Time at which the order was placed.';
COMMENT ON COLUMN orders.updated_at IS 'Time of the newest version.';
COMMENT ON COLUMN orders.asked IS 'Commands to payment without a known outcome: id of the message, command, amount of a refund or part capture, and final: false if a capture keeps the rest authorized.';
COMMENT ON COLUMN orders.asked_version IS 'Version that asked was written with. If it is not the row''s, an older release wrote the row.';
COMMENT ON COLUMN orders.last_error IS 'Newest decline of a command, until something succeeds: command, id of its message, reason, code, detail, at.';
COMMENT ON COLUMN orders.reference IS 'The shop''s own order number; NULL if it has none. Immutable.';
ALTER TABLE orders ALTER COLUMN items SET STATISTICS 0,
    ALTER COLUMN payment SET STATISTICS 0,
    ALTER COLUMN asked SET STATISTICS 0,
    ALTER COLUMN last_error SET STATISTICS 0;

CREATE INDEX orders_newest ON orders (merchant, status, created_at, id);
COMMENT ON INDEX orders_newest IS 'Lists of all orders and of one status.';

CREATE INDEX orders_of_customer ON orders (merchant, customer, created_at, id) WHERE customer IS NOT NULL;
COMMENT ON INDEX orders_of_customer IS 'Lists of one customer.';

CREATE INDEX orders_of_label ON orders USING gin (jsonb_set('{}', ARRAY[merchant], metadata) jsonb_path_ops) WITH (fastupdate=off)
    WHERE metadata <> '{}';
COMMENT ON INDEX orders_of_label IS 'Lists of a merchant''s orders by a label.';

CREATE UNIQUE INDEX orders_reference ON orders (merchant, reference) WHERE reference IS NOT NULL;
COMMENT ON INDEX orders_reference IS 'No two orders of a merchant have the same reference; lists by reference.';

CREATE INDEX orders_waiting_turns ON orders (merchant, status, updated_at)
    WHERE status IN ('pending_payment', 'authorized', 'canceling');
COMMENT ON INDEX orders_waiting_turns IS 'The sweep, in which merchants take turns; gauges.';

CREATE STATISTICS orders_labels ON jsonb_set('{}', ARRAY[merchant], metadata) FROM orders;
COMMENT ON STATISTICS orders_labels IS 'How many orders have a label, for the lists by it.';

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
    IF (NEW.merchant, NEW.id, NEW.currency, NEW.total_amount, NEW.items, NEW.reference, NEW.created_at)
        IS DISTINCT FROM
        (OLD.merchant, OLD.id, OLD.currency, OLD.total_amount, OLD.items, OLD.reference, OLD.created_at) THEN
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
COMMENT ON TRIGGER orders_guard ON orders IS 'The state machine of order.model, enforced for every writer.';

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
    id          uuid        DEFAULT gen_random_uuid(),
    position    bigint      DEFAULT (order_events_base() + ((pg_current_xact_id())::text)::bigint),
    state       jsonb,
    PRIMARY KEY (merchant, order_id, version)
);
COMMENT ON TABLE order_events IS 'History of the orders, one row for each version. Append-only.';
COMMENT ON COLUMN order_events.merchant IS 'Merchant that owns the order.';
COMMENT ON COLUMN order_events.order_id IS 'The order.';
COMMENT ON COLUMN order_events.version IS 'Version of the order after the event.';
COMMENT ON COLUMN order_events.type IS 'What happened, such as order.paid, payment.refund_requested or refund.succeeded.';
COMMENT ON COLUMN order_events.from_status IS 'Status before the event; NULL for the first.';
COMMENT ON COLUMN order_events.to_status IS 'Status after the event. Equal to from_status if only amounts or commands changed.';
COMMENT ON COLUMN order_events.actor IS 'Who caused the event: merchant or payment.';
COMMENT ON COLUMN order_events.data IS 'Details: payment_id, payment_status, payment_method, failure_reason, capture_amount, capture_final, refund_id, refund_amount.';
COMMENT ON COLUMN order_events.at IS 'Time of the event.';
COMMENT ON COLUMN order_events.id IS 'Id of the event, a UUIDv7. Also the webhook-id of its deliveries. NULL before 0.3.';
COMMENT ON COLUMN order_events.position IS 'Transaction id plus order_events_base(). Events are read in this order.';
COMMENT ON COLUMN order_events.state IS 'What can change of an order, as it was after the event: payment_method, paid_amount, refunded_amount, payment, last_error. Without members that are 0 or null.';
ALTER TABLE order_events ALTER COLUMN data SET STATISTICS 0,
    ALTER COLUMN state SET STATISTICS 0;

CREATE INDEX order_events_at ON order_events USING brin (at);
COMMENT ON INDEX order_events_at IS 'The orders that changed in a period, for reconcile.';

CREATE INDEX order_events_feed ON order_events (merchant, "position") WHERE "position" IS NOT NULL;
COMMENT ON INDEX order_events_feed IS 'The feed of events. Events before 0.3 are not in it.';

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
COMMENT ON FUNCTION append_only() IS 'Refuses UPDATE, DELETE and TRUNCATE.';

CREATE TRIGGER order_events_append_only BEFORE DELETE OR UPDATE ON order_events FOR EACH ROW
    EXECUTE FUNCTION append_only();

CREATE TRIGGER order_events_no_truncate BEFORE TRUNCATE ON order_events FOR EACH STATEMENT
    EXECUTE FUNCTION append_only();

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
    payment_id     uuid,
    metadata       jsonb       NOT NULL DEFAULT '{}',
    updated_at     timestamptz,
    PRIMARY KEY (merchant, id),
    FOREIGN KEY (merchant, order_id) REFERENCES orders(merchant, id)
);
COMMENT ON TABLE refunds IS 'Refunds of orders, including those that cancel an order.';
COMMENT ON COLUMN refunds.merchant IS 'Merchant that owns the order.';
COMMENT ON COLUMN refunds.id IS 'The refund''s id, a UUIDv7, or a UUIDv8 if it derives from an idempotency key that has no time. Also that of the command, and the idempotency key at payment.';
COMMENT ON COLUMN refunds.order_id IS 'The order.';
COMMENT ON COLUMN refunds.amount IS 'Amount, in minor units.';
COMMENT ON COLUMN refunds.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN refunds.reason IS 'Reason given by the merchant.';
COMMENT ON COLUMN refunds.to_cancel IS 'Whether the refund cancels the order.';
COMMENT ON COLUMN refunds.status IS 'pending until the outcome is known.';
COMMENT ON COLUMN refunds.failure_reason IS 'Why the refund failed.';
COMMENT ON COLUMN refunds.declined IS 'Whether the provider declined the refund. It also fails if too little is left to refund.';
COMMENT ON COLUMN refunds.created_at IS 'Time of the request.';
COMMENT ON COLUMN refunds.payment_id IS 'The refunded payment; NULL if a release before 0.3 wrote the row.';
COMMENT ON COLUMN refunds.metadata IS 'Labels of the merchant.';
COMMENT ON COLUMN refunds.updated_at IS 'When it succeeded or failed; NULL before, or if a release before 0.3 wrote it.';

CREATE INDEX refunds_newest ON refunds (merchant, status, created_at, id);
COMMENT ON INDEX refunds_newest IS 'Lists of a merchant''s refunds, of all or of a status.';

CREATE INDEX refunds_of_order ON refunds (merchant, order_id);
COMMENT ON INDEX refunds_of_order IS 'Refunds of one order.';

CREATE INDEX refunds_turns ON refunds (merchant, created_at) WHERE status = 'pending';
COMMENT ON INDEX refunds_turns IS 'The sweep, gauges.';


-- Commands to payment, and events from it -----------------------------------------------------------------------------

CREATE TABLE outbox (
    sequence     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    id           uuid        NOT NULL,
    merchant     text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    topic        text        NOT NULL,
    payload      jsonb       NOT NULL,
    headers      jsonb       NOT NULL DEFAULT '{}',
    attempts     integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    available_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz,
    lease_owner  text,
    delivered_at timestamptz,
    last_error   text,
    PRIMARY KEY (id, merchant)
) WITH (fillfactor = 70);
COMMENT ON TABLE outbox IS 'Transactional outbox: messages to the other service. A row commits with the change it is about.';
COMMENT ON COLUMN outbox.sequence IS 'Insertion order. Only the messages of one aggregate depend on it.';
COMMENT ON COLUMN outbox.id IS 'The message''s id, a UUIDv7, or a UUIDv8 if it derives from an idempotency key that has no time. The idempotency key at payment, the same at each attempt.';
COMMENT ON COLUMN outbox.merchant IS 'Merchant of the order.';
COMMENT ON COLUMN outbox.aggregate_id IS 'The order. Only its oldest undelivered row is claimed, so its messages arrive in order.';
COMMENT ON COLUMN outbox.topic IS 'In order payment.create, payment.capture, payment.void or payment.refund; in payment payment.updated.';
COMMENT ON COLUMN outbox.payload IS 'Body of the message.';
COMMENT ON COLUMN outbox.headers IS 'X-Request-Id and trace context of the request that caused the message; sent with it.';
COMMENT ON COLUMN outbox.attempts IS 'Number of claims.';
COMMENT ON COLUMN outbox.created_at IS 'Time of insertion.';
COMMENT ON COLUMN outbox.available_at IS 'The row is not claimed before this time (backoff).';
COMMENT ON COLUMN outbox.leased_until IS 'End of the lease. After it, any relay may claim the row.';
COMMENT ON COLUMN outbox.lease_owner IS 'Holder of the lease. Only the holder can mark the row delivered.';
COMMENT ON COLUMN outbox.delivered_at IS 'Time of delivery; NULL while the row waits.';
COMMENT ON COLUMN outbox.last_error IS 'Why the last attempt failed.';
ALTER TABLE outbox ALTER COLUMN payload SET STATISTICS 0,
    ALTER COLUMN headers SET STATISTICS 0;

CREATE INDEX outbox_age ON outbox USING brin (created_at);
COMMENT ON INDEX outbox_age IS 'The purge.';

CREATE INDEX outbox_claims ON outbox (merchant, available_at) WHERE delivered_at IS NULL AND sequence > 0;
COMMENT ON INDEX outbox_claims IS 'Claims of the relay, gauges. All rows have a sequence above zero.';

CREATE INDEX outbox_oldest ON outbox (aggregate_id, merchant, sequence) WHERE delivered_at IS NULL;
COMMENT ON INDEX outbox_oldest IS 'The oldest undelivered row of an order.';

CREATE TABLE inbox (
    id          text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    merchant    text        NOT NULL DEFAULT '',
    PRIMARY KEY (merchant, id)
);
COMMENT ON TABLE inbox IS 'Written by releases before 0.3 only, and dropped in a later one: events are compared with the row they change.';
COMMENT ON COLUMN inbox.id IS 'The webhook-id of the event.';
COMMENT ON COLUMN inbox.received_at IS 'Time of the first delivery. The purge deletes the row after a day; signatures expire after minutes.';
COMMENT ON COLUMN inbox.merchant IS 'Empty: releases before 0.3, which write the row, do not know the merchant.';

CREATE INDEX inbox_age ON inbox USING brin (received_at);
COMMENT ON INDEX inbox_age IS 'The purge.';

CREATE TABLE orphan_payments (
    merchant         text        NOT NULL,
    payment_id       uuid        NOT NULL,
    order_id         uuid        NOT NULL,
    status           text        NOT NULL,
    currency         text        NOT NULL,
    amount           bigint      NOT NULL,
    captured_amount  bigint      NOT NULL,
    refunded_amount  bigint      NOT NULL,
    refunding_amount bigint      NOT NULL,
    failure_reason   text,
    version          bigint      NOT NULL,
    first_seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    declines         integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (merchant, payment_id)
);
COMMENT ON TABLE orphan_payments IS 'Newest snapshots of payments that name an order which does not exist here.';
COMMENT ON COLUMN orphan_payments.merchant IS 'Merchant that owns the payment.';
COMMENT ON COLUMN orphan_payments.payment_id IS 'The payment.';
COMMENT ON COLUMN orphan_payments.order_id IS 'The order that the payment names. If it is placed later, it takes the payment.';
COMMENT ON COLUMN orphan_payments.status IS 'State of the payment.';
COMMENT ON COLUMN orphan_payments.currency IS 'ISO 4217 code of all amounts.';
COMMENT ON COLUMN orphan_payments.amount IS 'Amount of the payment, in minor units.';
COMMENT ON COLUMN orphan_payments.captured_amount IS 'Captured amount, in minor units.';
COMMENT ON COLUMN orphan_payments.refunded_amount IS 'Refunded amount, in minor units.';
COMMENT ON COLUMN orphan_payments.refunding_amount IS 'Amount of refunds without a known outcome, in minor units.';
COMMENT ON COLUMN orphan_payments.failure_reason IS 'Why the payment failed, if it did.';
COMMENT ON COLUMN orphan_payments.version IS 'Version of the payment. An older snapshot changes nothing.';
COMMENT ON COLUMN orphan_payments.first_seen_at IS 'Time at which the first snapshot arrived.';
COMMENT ON COLUMN orphan_payments.last_seen_at IS 'Time at which the newest snapshot arrived.';
COMMENT ON COLUMN orphan_payments.declines IS 'How many requests to return its money were declined. The next one has another idempotency key.';

CREATE INDEX orphan_payments_holding ON orphan_payments (first_seen_at)
    WHERE (status IN ('processing', 'authorized')) OR captured_amount > refunded_amount;
COMMENT ON INDEX orphan_payments_holding IS 'Lists and gauges of payments that hold or may hold money.';

CREATE INDEX orphan_payments_of_order ON orphan_payments (merchant, order_id);
COMMENT ON INDEX orphan_payments_of_order IS 'The payments that an order takes when it is placed.';

CREATE INDEX orphan_payments_turns ON orphan_payments (merchant, first_seen_at)
    WHERE (status IN ('processing', 'authorized')) OR captured_amount > refunded_amount;
COMMENT ON INDEX orphan_payments_turns IS 'The sweep, in which merchants take turns.';


-- Callers -------------------------------------------------------------------------------------------------------------

CREATE TABLE idempotency_keys (
    merchant    text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    status      integer     NOT NULL,
    resource_id uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, key)
);
COMMENT ON TABLE idempotency_keys IS 'Idempotency keys and the resources they name. A row commits with the effect of its request; errors store none.';
COMMENT ON COLUMN idempotency_keys.merchant IS 'Merchant that sent the key.';
COMMENT ON COLUMN idempotency_keys.key IS 'The Idempotency-Key header.';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'SHA-256 of method, path and canonical body. Another request with the same key is refused.';
COMMENT ON COLUMN idempotency_keys.status IS 'Status code of the completed request; 201 if it created the resource.';
COMMENT ON COLUMN idempotency_keys.resource_id IS 'The resource that the request made or changed. A replay shows it as it is now.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'Time of the request. The purge deletes the row IDEMPOTENCY_KEY_DAYS later.';

CREATE INDEX idempotency_keys_age ON idempotency_keys USING brin (created_at);
COMMENT ON INDEX idempotency_keys_age IS 'The purge.';

CREATE TABLE api_keys (
    id         integer     NOT NULL GENERATED ALWAYS AS IDENTITY,
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    last_four  text        NOT NULL,
    name       text        NOT NULL,
    merchant   text        NOT NULL,
    scopes     text[]      NOT NULL,
    lifetime   interval,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (id),
    UNIQUE (digest)
);
COMMENT ON TABLE api_keys IS 'API keys made by `flask keys create`. Keys of the setting API_KEYS are not stored here.';
COMMENT ON COLUMN api_keys.id IS 'Name of the key in `flask keys`, in logs and on the operator''s page.';
COMMENT ON COLUMN api_keys.digest IS 'SHA-256 of the key. The key itself is not stored.';
COMMENT ON COLUMN api_keys.last_four IS 'Last four characters of the key.';
COMMENT ON COLUMN api_keys.name IS 'Label.';
COMMENT ON COLUMN api_keys.merchant IS 'Merchant that the bearer acts for.';
COMMENT ON COLUMN api_keys.scopes IS 'What the bearer may do, such as orders:read.';
COMMENT ON COLUMN api_keys.lifetime IS 'Validity when the key was made, inherited by its successor in a rotation; NULL for no end.';
COMMENT ON COLUMN api_keys.created_at IS 'Time of creation.';
COMMENT ON COLUMN api_keys.expires_at IS 'End of validity; NULL for no end.';
COMMENT ON COLUMN api_keys.revoked_at IS 'Time of revocation; NULL if it is not revoked.';

CREATE UNLOGGED TABLE rate_limits (
    caller  text          NOT NULL,
    full_at timestamptz[] NOT NULL,
    passed  boolean       NOT NULL,
    PRIMARY KEY (caller)
) WITH (fillfactor = 50);
COMMENT ON TABLE rate_limits IS 'Used quota by caller (GCRA). Unlogged: a crash of the server gives every caller a full quota.';
COMMENT ON COLUMN rate_limits.caller IS '`merchant NAME`, or `address NETWORK` for requests with invalid keys.';
COMMENT ON COLUMN rate_limits.full_at IS 'For each limit, the time at which the whole quota is available again.';
COMMENT ON COLUMN rate_limits.passed IS 'Whether the last request was allowed.';


-- Webhooks to merchants -----------------------------------------------------------------------------------------------

CREATE TABLE webhook_endpoints (
    merchant        text        NOT NULL,
    id              uuid        NOT NULL,
    url             text        NOT NULL,
    description     text,
    events          text[]      NOT NULL CHECK (cardinality(events) > 0),
    secrets         jsonb       NOT NULL,
    status          text        NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    disabled_reason text,
    failures        integer     NOT NULL DEFAULT 0,
    paused_until    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    redeliver_since timestamptz,
    redeliver_until timestamptz,
    redeliver_after uuid,
    PRIMARY KEY (merchant, id),
    CHECK ((disabled_reason IS NULL) = (status = 'enabled'))
);
COMMENT ON TABLE webhook_endpoints IS 'Webhook endpoints that merchants registered.';
COMMENT ON COLUMN webhook_endpoints.merchant IS 'Merchant that owns the endpoint.';
COMMENT ON COLUMN webhook_endpoints.id IS 'UUIDv7.';
COMMENT ON COLUMN webhook_endpoints.url IS 'URL to which events are posted.';
COMMENT ON COLUMN webhook_endpoints.description IS 'Note of the merchant.';
COMMENT ON COLUMN webhook_endpoints.events IS 'Types of the events to send, such as order.paid.';
COMMENT ON COLUMN webhook_endpoints.secrets IS 'Signing secrets, newest first: seed, key of WEBHOOK_KEYS that derives the secret, end of use.';
COMMENT ON COLUMN webhook_endpoints.status IS 'disabled after the endpoint answered 410, or on request. Events are kept meanwhile.';
COMMENT ON COLUMN webhook_endpoints.disabled_reason IS 'Why the endpoint is disabled.';
COMMENT ON COLUMN webhook_endpoints.failures IS 'Number of failed attempts in a row.';
COMMENT ON COLUMN webhook_endpoints.paused_until IS 'No attempt is made before this time: after failures in a row, or as Retry-After asked.';
COMMENT ON COLUMN webhook_endpoints.created_at IS 'Time of registration.';
COMMENT ON COLUMN webhook_endpoints.redeliver_since IS 'Begin of a redelivery that is under way; NULL if none is.';
COMMENT ON COLUMN webhook_endpoints.redeliver_until IS 'Time at which the redelivery was requested. Later events are not in it.';
COMMENT ON COLUMN webhook_endpoints.redeliver_after IS 'The last delivery that it has made due; NULL before the first.';

CREATE INDEX webhook_endpoints_enabled ON webhook_endpoints (merchant) INCLUDE (id, events) WHERE status = 'enabled';
COMMENT ON INDEX webhook_endpoints_enabled IS 'Read by releases before 0.3. The next release drops it.';

CREATE INDEX webhook_endpoints_redelivering ON webhook_endpoints (merchant, id) WHERE redeliver_since IS NOT NULL;
COMMENT ON INDEX webhook_endpoints_redelivering IS 'Redeliveries under way, for the webhook loop.';

CREATE TABLE webhook_deliveries (
    merchant         text        NOT NULL,
    endpoint_id      uuid        NOT NULL,
    id               uuid        NOT NULL,
    order_id         uuid,
    type             text        NOT NULL,
    payload          text,
    status           text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts         integer     NOT NULL DEFAULT 0,
    tries            integer     NOT NULL DEFAULT 0,
    last_status_code integer,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    available_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    trying_since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until     timestamptz,
    lease_owner      text,
    settled_at       timestamptz,
    headers          jsonb,
    at_once          boolean     NOT NULL DEFAULT false,
    order_version    bigint,
    PRIMARY KEY (merchant, endpoint_id, id),
    CHECK ((settled_at IS NULL) = (status = 'pending'))
) WITH (fillfactor = 70);
COMMENT ON TABLE webhook_deliveries IS 'Events to deliver to endpoints. A row commits with the step of the order that it reports.';
COMMENT ON COLUMN webhook_deliveries.merchant IS 'Merchant that owns the endpoint.';
COMMENT ON COLUMN webhook_deliveries.endpoint_id IS 'The endpoint. Without a foreign key: an order never waits for an endpoint that is deleted.';
COMMENT ON COLUMN webhook_deliveries.id IS 'UUIDv7. Sent as webhook-id: the same for each attempt and for all endpoints of the merchant.';
COMMENT ON COLUMN webhook_deliveries.order_id IS 'The order; NULL for a test event.';
COMMENT ON COLUMN webhook_deliveries.type IS 'Type of the event.';
COMMENT ON COLUMN webhook_deliveries.payload IS 'Body of a test event. NULL for an event of an order, whose body is made from order_events when it is sent.';
COMMENT ON COLUMN webhook_deliveries.status IS 'dead after WEBHOOK_GIVE_UP_SECONDS or a 410. A redelivery makes it pending again.';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'Number of claims.';
COMMENT ON COLUMN webhook_deliveries.tries IS 'Number of claims since the last redelivery. Determines the backoff.';
COMMENT ON COLUMN webhook_deliveries.last_status_code IS 'Status code of the last response.';
COMMENT ON COLUMN webhook_deliveries.last_error IS 'Why the last attempt failed.';
COMMENT ON COLUMN webhook_deliveries.created_at IS 'Time of the event.';
COMMENT ON COLUMN webhook_deliveries.available_at IS 'The row is not claimed before this time (backoff).';
COMMENT ON COLUMN webhook_deliveries.trying_since IS 'Time of the event or of the last redelivery. The delivery is given up by its age.';
COMMENT ON COLUMN webhook_deliveries.leased_until IS 'End of the lease.';
COMMENT ON COLUMN webhook_deliveries.lease_owner IS 'Holder of the lease. Only the holder can settle the delivery.';
COMMENT ON COLUMN webhook_deliveries.settled_at IS 'Time at which it was delivered or became dead.';
COMMENT ON COLUMN webhook_deliveries.headers IS 'X-Request-Id and trace context of the request that caused the event. Not sent.';
COMMENT ON COLUMN webhook_deliveries.at_once IS 'Requested by the merchant (test, redeliver): the next attempt is made even while the endpoint is paused.';
COMMENT ON COLUMN webhook_deliveries.order_version IS 'Version of the order after the event; with order_id it names the event.';

CREATE INDEX webhook_deliveries_age ON webhook_deliveries (trying_since) WHERE status = 'pending';
COMMENT ON INDEX webhook_deliveries_age IS 'Deliveries to give up, gauges.';

CREATE INDEX webhook_deliveries_at_once ON webhook_deliveries (merchant, endpoint_id, available_at)
    WHERE status = 'pending' AND at_once;
COMMENT ON INDEX webhook_deliveries_at_once IS 'Claims of deliveries to paused endpoints.';

CREATE INDEX webhook_deliveries_created ON webhook_deliveries USING brin (created_at);
COMMENT ON INDEX webhook_deliveries_created IS 'The purge, the operator''s page.';

CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (merchant, endpoint_id, id) WHERE status = 'dead';
COMMENT ON INDEX webhook_deliveries_dead IS 'Dead letters.';

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (merchant, endpoint_id, available_at)
    WHERE status = 'pending';
COMMENT ON INDEX webhook_deliveries_due IS 'Claims of the webhook loop.';

CREATE INDEX webhook_deliveries_first ON webhook_deliveries (merchant, endpoint_id, order_id, id)
    WHERE status = 'pending' AND (attempts = 0 OR leased_until IS NOT NULL);
COMMENT ON INDEX webhook_deliveries_first IS 'Older events of an order, which are attempted first.';

CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (merchant, endpoint_id) WHERE leased_until IS NOT NULL;
COMMENT ON INDEX webhook_deliveries_leased IS 'Attempts under way at one endpoint.';

CREATE TABLE webhook_attempts (
    merchant    text        NOT NULL,
    endpoint_id uuid        NOT NULL,
    delivery_id uuid        NOT NULL,
    number      integer     NOT NULL,
    status_code integer,
    error       text,
    seconds     float8      NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (merchant, endpoint_id, delivery_id, number),
    FOREIGN KEY (merchant, endpoint_id, delivery_id)
        REFERENCES webhook_deliveries(merchant, endpoint_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE webhook_attempts IS 'Attempts at deliveries. Deleted with the delivery.';
COMMENT ON COLUMN webhook_attempts.merchant IS 'Merchant that owns the endpoint.';
COMMENT ON COLUMN webhook_attempts.endpoint_id IS 'The endpoint.';
COMMENT ON COLUMN webhook_attempts.delivery_id IS 'The delivery.';
COMMENT ON COLUMN webhook_attempts.number IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN webhook_attempts.status_code IS 'Status code of the response; NULL if there was none.';
COMMENT ON COLUMN webhook_attempts.error IS 'Why the attempt failed.';
COMMENT ON COLUMN webhook_attempts.seconds IS 'Duration, in seconds.';
COMMENT ON COLUMN webhook_attempts.at IS 'Time at which the attempt began.';

CREATE TRIGGER webhook_attempts_append_only BEFORE UPDATE ON webhook_attempts FOR EACH ROW
    EXECUTE FUNCTION append_only();


-- Events to a broker --------------------------------------------------------------------------------------------------

CREATE TABLE event_publisher (
    one          boolean     NOT NULL DEFAULT true CHECK (one),
    lease_owner  text,
    leased_until timestamptz,
    published_at timestamptz,
    last_error   text,
    PRIMARY KEY (one)
) WITH (fillfactor = 50);
COMMENT ON TABLE event_publisher IS 'One row, once events are published to a broker. Its lease admits one publisher.';
COMMENT ON COLUMN event_publisher.one IS 'Always true, so that there is one row.';
COMMENT ON COLUMN event_publisher.lease_owner IS 'Name of the claim that publishes. Checked by every move of a position.';
COMMENT ON COLUMN event_publisher.leased_until IS 'When another publisher may take over.';
COMMENT ON COLUMN event_publisher.published_at IS 'When the broker last acknowledged events.';
COMMENT ON COLUMN event_publisher.last_error IS 'Why events of the last round were not acknowledged; NULL if all were.';

CREATE TABLE event_positions (
    merchant text   NOT NULL,
    position bigint NOT NULL,
    order_id uuid   NOT NULL,
    version  bigint NOT NULL,
    PRIMARY KEY (merchant)
) WITH (fillfactor = 50);
COMMENT ON TABLE event_positions IS 'How far the events of each merchant are published. Without a row: none is.';
COMMENT ON COLUMN event_positions.merchant IS 'The merchant.';
COMMENT ON COLUMN event_positions.position IS 'Position of the last event that is published (order_events.position).';
COMMENT ON COLUMN event_positions.order_id IS 'Order of that event.';
COMMENT ON COLUMN event_positions.version IS 'Version of that event.';

CREATE TABLE event_consumers (
    name    text        NOT NULL,
    pending bigint      NOT NULL CHECK (pending >= 0),
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name)
) WITH (fillfactor = 50);
COMMENT ON TABLE event_consumers IS 'Consumers of the broker that the publisher sends events to, when it last asked the broker.';
COMMENT ON COLUMN event_consumers.name IS 'Name of the consumer: a durable one of NATS, a group of Kafka.';
COMMENT ON COLUMN event_consumers.pending IS 'Events that it has not acknowledged (NATS), or that are behind its offsets (Kafka).';
COMMENT ON COLUMN event_consumers.at IS 'When the broker said so.';


-- The operator's page -------------------------------------------------------------------------------------------------

CREATE TABLE operator_sessions (
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    key_digest bytea       NOT NULL CHECK (octet_length(key_digest) = 32),
    who        text        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (digest)
);
COMMENT ON TABLE operator_sessions IS 'Sessions of the operator''s page.';
COMMENT ON COLUMN operator_sessions.digest IS 'SHA-256 of the token in the cookie. The token itself is not stored.';
COMMENT ON COLUMN operator_sessions.key_digest IS 'SHA-256 of the API key. The session ends with the key.';
COMMENT ON COLUMN operator_sessions.who IS 'Name of the key, for the page and the log.';
COMMENT ON COLUMN operator_sessions.expires_at IS 'End of the session.';

CREATE INDEX operator_sessions_expiring ON operator_sessions (expires_at);
COMMENT ON INDEX operator_sessions_expiring IS 'Sessions that have ended.';

CREATE TABLE operator_actions (
    merchant   text        NOT NULL,
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    who        text        NOT NULL,
    action     text        NOT NULL,
    order_id   uuid,
    target     text,
    amount     bigint      CHECK (amount >= 0),
    currency   text,
    reason     text        NOT NULL DEFAULT '' CHECK (length(reason) <= 200),
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'refused', 'unknown')),
    detail     text        NOT NULL DEFAULT '',
    request_id text        NOT NULL,
    PRIMARY KEY (merchant, id)
);
COMMENT ON TABLE operator_actions IS 'What operators have done on their page. Append-only, and never purged.';
COMMENT ON COLUMN operator_actions.merchant IS 'Merchant that the action concerns; empty if it concerns all, such as the simulator''s faults.';
COMMENT ON COLUMN operator_actions.id IS 'UUIDv7.';
COMMENT ON COLUMN operator_actions.at IS 'Time of the action.';
COMMENT ON COLUMN operator_actions.who IS 'The operator''s API key: its id, name and merchant. Never the key itself.';
COMMENT ON COLUMN operator_actions.action IS 'refund, capture, capture_part, release, cancel, send, redeliver, redeliver_all, enable or switch_faults.';
COMMENT ON COLUMN operator_actions.order_id IS 'The order that was changed, or whose command or webhook was sent again.';
COMMENT ON COLUMN operator_actions.target IS 'What else was acted on: a command, a delivery, an endpoint, or the faults that were set.';
COMMENT ON COLUMN operator_actions.amount IS 'Money that the operator confirmed to move, in minor units; NULL if none.';
COMMENT ON COLUMN operator_actions.currency IS 'Currency of the amount (ISO 4217).';
COMMENT ON COLUMN operator_actions.reason IS 'Why, in the operator''s words; empty for actions that ask for none.';
COMMENT ON COLUMN operator_actions.outcome IS 'done: the request committed with this row, and its result with the provider is in the history of the order. refused: nothing was changed. unknown: payment did not answer.';
COMMENT ON COLUMN operator_actions.detail IS 'Why it was refused, or how much was done.';
COMMENT ON COLUMN operator_actions.request_id IS 'X-Request-Id of the action; sent with everything that it causes.';

CREATE INDEX operator_actions_newest ON operator_actions (id);
COMMENT ON INDEX operator_actions_newest IS 'The list of all actions.';

CREATE INDEX operator_actions_of_order ON operator_actions (merchant, order_id, id) WHERE order_id IS NOT NULL;
COMMENT ON INDEX operator_actions_of_order IS 'The actions of an order, on its page.';

CREATE TRIGGER operator_actions_append_only BEFORE DELETE OR UPDATE ON operator_actions FOR EACH ROW
    EXECUTE FUNCTION append_only();

CREATE TRIGGER operator_actions_no_truncate BEFORE TRUNCATE ON operator_actions FOR EACH STATEMENT
    EXECUTE FUNCTION append_only();


-- Migrations ----------------------------------------------------------------------------------------------------------

CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
COMMENT ON TABLE alembic_version IS 'The newest migration that was applied; one row.';
COMMENT ON COLUMN alembic_version.version_num IS 'Its revision, the number in front of its file name.';
