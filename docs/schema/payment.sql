-- The database of the payment service, as its migrations leave it. `make schema` writes this file.
-- Amounts are whole minor units of their currency; times are UTC.


-- Payments ------------------------------------------------------------------------------------------------------------

CREATE TABLE payments (
    merchant           text        NOT NULL,
    id                 uuid        NOT NULL,
    order_id           uuid        NOT NULL,
    status             text        NOT NULL
        CHECK (status IN ('processing', 'authorized', 'captured', 'failed', 'voided', 'expired')),
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
    CHECK (refunded_amount >= 0 AND refunding_amount >= 0 AND (refunded_amount + refunding_amount) <= captured_amount
        AND captured_amount <= authorized_amount AND (status = 'failed' OR authorized_amount <= amount))
) WITH (fillfactor = 80);
COMMENT ON TABLE payments IS 'Payments as they are now. Each change increments the version.';
COMMENT ON COLUMN payments.merchant IS 'Merchant that owns the payment. Part of the primary key, so a query reads one merchant.';
COMMENT ON COLUMN payments.id IS 'Derived from the idempotency key: a UUIDv7 with the key''s time, or a UUIDv8 if the key has no time.';
COMMENT ON COLUMN payments.order_id IS 'The order, in the order service.';
COMMENT ON COLUMN payments.status IS 'State of the payment. The trigger payments_guard allows only legal transitions.';
COMMENT ON COLUMN payments.amount IS 'Amount to pay, in minor units. Immutable.';
COMMENT ON COLUMN payments.currency IS 'ISO 4217 code of all amounts.';
COMMENT ON COLUMN payments.authorized_amount IS 'Amount that the provider authorized, in minor units. A sale authorizes what it captures.';
COMMENT ON COLUMN payments.captured_amount IS 'Captured amount, in minor units: the sum of all captures. Refunds do not reduce it.';
COMMENT ON COLUMN payments.refunded_amount IS 'Refunded amount, in minor units.';
COMMENT ON COLUMN payments.refunding_amount IS 'Amount reserved for refunds without a known outcome, in minor units.';
COMMENT ON COLUMN payments.payment_method IS 'Token of the provider. Never a card number.';
COMMENT ON COLUMN payments.capture IS 'automatic: a sale. manual: an authorization, captured on request.';
COMMENT ON COLUMN payments.failure_reason IS 'Why the payment failed.';
COMMENT ON COLUMN payments.provider IS 'Provider that carries out the payment.';
COMMENT ON COLUMN payments.provider_reference IS 'Id of the charge or authorization at the provider.';
COMMENT ON COLUMN payments.busy IS 'Capture or void under way; at most one at a time.';
COMMENT ON COLUMN payments.expires_at IS 'An authorization that is not captured by then is voided.';
COMMENT ON COLUMN payments.headers IS 'X-Request-Id and trace context of the last request that changed it; sent with its events.';
COMMENT ON COLUMN payments.version IS 'Incremented by each change. Set to the clock (seconds since 1970) when the payment is adopted or told to order again, and by the first change after a resync. Sent as the ETag. Order applies only a newer snapshot.';
COMMENT ON COLUMN payments.created_at IS 'Time of creation.';
COMMENT ON COLUMN payments.updated_at IS 'Time of the newest version.';
ALTER TABLE payments ALTER COLUMN headers SET STATISTICS 0;

CREATE INDEX payments_by_time ON payments (merchant, created_at, id);
COMMENT ON INDEX payments_by_time IS 'Read by releases before 0.3. The next release drops it.';

CREATE INDEX payments_changed ON payments USING brin (updated_at);
COMMENT ON INDEX payments_changed IS 'Payments to tell order again.';

CREATE INDEX payments_expiring_turns ON payments (merchant, expires_at) WHERE status = 'authorized' AND busy IS NULL;
COMMENT ON INDEX payments_expiring_turns IS 'Authorizations to void, by merchants'' turns.';

CREATE INDEX payments_newest ON payments (merchant, status, created_at, id);
COMMENT ON INDEX payments_newest IS 'Lists of all payments and of some statuses.';

CREATE INDEX payments_of_order ON payments (merchant, order_id, id);
COMMENT ON INDEX payments_of_order IS 'Payments of one order.';

CREATE UNIQUE INDEX payments_one_live ON payments (merchant, order_id)
    WHERE status IN ('processing', 'authorized', 'captured');
COMMENT ON INDEX payments_one_live IS 'At most one live payment of an order: it cannot be charged twice.';

CREATE FUNCTION payments_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <> OLD.version + 1
        AND (NEW.version <= OLD.version OR NEW.version < extract(epoch FROM now())::bigint - 86400) THEN
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
COMMENT ON TRIGGER payments_guard ON payments IS 'The state machine of a payment, enforced for every writer.';

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
    final              boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (merchant, id),
    CHECK ((status = 'pending') = (settled_at IS NULL)),
    FOREIGN KEY (merchant, payment_id) REFERENCES payments(merchant, id)
) WITH (fillfactor = 70);
COMMENT ON TABLE operations IS 'Requests to providers. A row commits before the provider is called.';
COMMENT ON COLUMN operations.merchant IS 'Merchant that owns the payment.';
COMMENT ON COLUMN operations.id IS 'Derived from the idempotency key: a UUIDv7 with the key''s time, or a UUIDv8 if the key has no time. The idempotency key at the provider, the same at each attempt.';
COMMENT ON COLUMN operations.payment_id IS 'The payment.';
COMMENT ON COLUMN operations.kind IS 'What is requested: sale, authorize, capture, void or refund.';
COMMENT ON COLUMN operations.amount IS 'Amount, in minor units.';
COMMENT ON COLUMN operations.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN operations.status IS 'pending while the outcome is unknown, which is neither success nor decline.';
COMMENT ON COLUMN operations.attempts IS 'Number of claims. From the second on, the outcome is looked up before anything is sent again.';
COMMENT ON COLUMN operations.provider_reference IS 'Id of the result at the provider.';
COMMENT ON COLUMN operations.reason IS 'Why the provider declined.';
COMMENT ON COLUMN operations.note IS 'Reason given for a refund; `expired` for the void of an expired authorization.';
COMMENT ON COLUMN operations.idempotency_key IS 'Idempotency-Key of the request that caused it. The event repeats it to order.';
COMMENT ON COLUMN operations.created_at IS 'Time of the request.';
COMMENT ON COLUMN operations.settled_at IS 'Time at which the outcome was stored.';
COMMENT ON COLUMN operations.available_at IS 'The row is not claimed before this time (backoff).';
COMMENT ON COLUMN operations.leased_until IS 'End of the lease of a request or of the executor.';
COMMENT ON COLUMN operations.lease_owner IS 'Holder of the lease. Only the holder can settle the operation.';
COMMENT ON COLUMN operations.last_error IS 'Why the outcome is unknown.';
COMMENT ON COLUMN operations.final IS 'false: a capture that keeps the rest of the authorized amount for further captures. true for all others.';

CREATE INDEX operations_claims ON operations (merchant, available_at) WHERE status = 'pending' AND amount > 0;
COMMENT ON INDEX operations_claims IS 'Claims of the executor, gauges. All amounts are above zero.';

CREATE INDEX operations_created ON operations USING brin (created_at);
COMMENT ON INDEX operations_created IS 'Reconciliation.';

CREATE INDEX operations_of_payment ON operations (merchant, payment_id);
COMMENT ON INDEX operations_of_payment IS 'Operations of one payment.';

CREATE INDEX operations_settled ON operations USING brin (settled_at);
COMMENT ON INDEX operations_settled IS 'Reconciliation.';

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
    UNIQUE (merchant, operation_id, account, direction),
    FOREIGN KEY (merchant, operation_id) REFERENCES operations(merchant, id)
);
COMMENT ON TABLE ledger_entries IS 'Double-entry ledger: the entries of an operation sum to zero in each currency. Append-only.';
COMMENT ON COLUMN ledger_entries.merchant IS 'Merchant that owns the payment.';
COMMENT ON COLUMN ledger_entries.id IS 'UUIDv7.';
COMMENT ON COLUMN ledger_entries.operation_id IS 'Operation that moved the money.';
COMMENT ON COLUMN ledger_entries.payment_id IS 'Payment of the operation.';
COMMENT ON COLUMN ledger_entries.account IS 'provider_clearing (money at the provider) or merchant_payable (money owed to the merchant).';
COMMENT ON COLUMN ledger_entries.direction IS 'debit or credit.';
COMMENT ON COLUMN ledger_entries.amount IS 'Amount, in minor units; always positive.';
COMMENT ON COLUMN ledger_entries.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN ledger_entries.at IS 'Time of the entry.';

CREATE INDEX ledger_of_payment ON ledger_entries (merchant, payment_id);
COMMENT ON INDEX ledger_of_payment IS 'Entries of one payment.';

CREATE OR REPLACE FUNCTION public.ledger_balances()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'public', 'pg_temp'
AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_entries WHERE merchant = NEW.merchant AND operation_id = NEW.operation_id
               GROUP BY currency HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0) THEN
        RAISE EXCEPTION 'operation %: its ledger entries do not sum to zero', NEW.operation_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER ledger_balances AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION ledger_balances();
COMMENT ON TRIGGER ledger_balances ON ledger_entries IS 'Refuses entries that do not sum to zero, at commit.';

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
COMMENT ON FUNCTION append_only() IS 'Refuses UPDATE, DELETE and TRUNCATE.';

CREATE TRIGGER ledger_entries_append_only BEFORE DELETE OR UPDATE ON ledger_entries FOR EACH ROW
    EXECUTE FUNCTION append_only();

CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries FOR EACH STATEMENT
    EXECUTE FUNCTION append_only();

CREATE TABLE version_floor (
    one     boolean NOT NULL DEFAULT true CHECK (one),
    version bigint  NOT NULL,
    PRIMARY KEY (one)
);
COMMENT ON TABLE version_floor IS 'At most one row: a version below which order may know newer snapshots from before a restore.';
COMMENT ON COLUMN version_floor.one IS 'Always true, so that there is one row.';
COMMENT ON COLUMN version_floor.version IS 'The time of the newest resync, in seconds since 1970.';


-- Events to order -----------------------------------------------------------------------------------------------------

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
COMMENT ON COLUMN outbox.id IS 'UUIDv7. The receiver takes it as the idempotency key; it is the same at each attempt.';
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


-- The simulated provider ----------------------------------------------------------------------------------------------

CREATE SCHEMA simulator;
COMMENT ON SCHEMA simulator IS 'Memory of the simulated provider.';

CREATE TABLE simulator.operations (
    key            uuid        NOT NULL,
    kind           text        NOT NULL,
    merchant       text        NOT NULL,
    amount         bigint      NOT NULL,
    currency       text        NOT NULL,
    payment_method text        NOT NULL,
    charge         text,
    calls          integer     NOT NULL DEFAULT 1,
    result         text,
    reason         text,
    reference      text,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    payment_id     uuid,
    order_id       uuid,
    final          boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (key),
    UNIQUE (reference)
);
COMMENT ON TABLE simulator.operations IS 'What the simulator was asked and did. It commits on a connection of its own, so a rollback does not undo it.';
COMMENT ON COLUMN simulator.operations.key IS 'Id of the operation. It is the idempotency key: the same key never acts twice.';
COMMENT ON COLUMN simulator.operations.kind IS 'sale, authorize, capture, void or refund.';
COMMENT ON COLUMN simulator.operations.merchant IS 'Merchant that owns the payment.';
COMMENT ON COLUMN simulator.operations.amount IS 'Amount, in minor units.';
COMMENT ON COLUMN simulator.operations.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN simulator.operations.payment_method IS 'Token that determines the outcome, such as pm_declined.';
COMMENT ON COLUMN simulator.operations.charge IS 'Reference of the charge that is captured, voided or refunded.';
COMMENT ON COLUMN simulator.operations.calls IS 'Number of requests with this key.';
COMMENT ON COLUMN simulator.operations.result IS 'succeeded or declined; NULL if the simulator has not acted, as if the request were lost.';
COMMENT ON COLUMN simulator.operations.reason IS 'Why it declined.';
COMMENT ON COLUMN simulator.operations.reference IS 'Id of what it did.';
COMMENT ON COLUMN simulator.operations.at IS 'Time of the first request.';
COMMENT ON COLUMN simulator.operations.payment_id IS 'The payment; NULL in rows of releases before 0.3.';
COMMENT ON COLUMN simulator.operations.order_id IS 'The order; NULL in rows of releases before 0.3.';
COMMENT ON COLUMN simulator.operations.final IS 'false: a capture that keeps the rest authorized. true for all others.';

CREATE INDEX operations_at ON simulator.operations USING brin (at);
COMMENT ON INDEX simulator.operations_at IS 'Records of a period.';

CREATE INDEX operations_charge_idx ON simulator.operations (charge);

CREATE INDEX operations_of_payment ON simulator.operations (payment_id);
COMMENT ON INDEX simulator.operations_of_payment IS 'Records of one payment.';

CREATE TABLE simulator.faults (
    one                   boolean     NOT NULL DEFAULT true CHECK (one),
    decline               boolean     NOT NULL,
    delay_ms              integer     NOT NULL CHECK (delay_ms >= 0 AND delay_ms <= 5000),
    lost_requests_percent integer     NOT NULL CHECK (lost_requests_percent >= 0 AND lost_requests_percent <= 100),
    lost_answers_percent  integer     NOT NULL CHECK (lost_answers_percent >= 0 AND lost_answers_percent <= 100),
    changed_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (one)
);
COMMENT ON TABLE simulator.faults IS 'Faults that are switched on for all payments; one row, or none if nothing was ever switched.';
COMMENT ON COLUMN simulator.faults.one IS 'Always true, so that there is at most one row.';
COMMENT ON COLUMN simulator.faults.decline IS 'Decline each new charge and authorization.';
COMMENT ON COLUMN simulator.faults.delay_ms IS 'Delay of each response, in milliseconds.';
COMMENT ON COLUMN simulator.faults.lost_requests_percent IS 'Share of the requests that are lost.';
COMMENT ON COLUMN simulator.faults.lost_answers_percent IS 'Share of the responses that are lost after the simulator has acted.';
COMMENT ON COLUMN simulator.faults.changed_at IS 'Time of the last change.';


-- Migrations ----------------------------------------------------------------------------------------------------------

CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
COMMENT ON TABLE alembic_version IS 'The newest migration that was applied; one row.';
COMMENT ON COLUMN alembic_version.version_num IS 'Its revision, the number in front of its file name.';
