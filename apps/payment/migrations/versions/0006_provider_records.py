"""What the simulator needs to list its records, and versions that may follow the clock.

Additive: the release before this one runs on this schema. The simulator's rows that it writes name no payment.
"""

from alembic import op

from chassis.postgres import tables

revision = "0006"
down_revision = "0005"

SIMULATOR = """
ALTER TABLE simulator.operations ADD COLUMN payment_id uuid, ADD COLUMN order_id uuid;
CREATE INDEX operations_of_payment ON simulator.operations (payment_id);
CREATE INDEX operations_at ON simulator.operations USING brin (at);
"""

# An adopted payment gets a version from the clock: order may have seen versions that a lost database had counted to.
TRANSITIONS = """
CREATE OR REPLACE FUNCTION payments_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
"""

_DERIVED = "Derived from the idempotency key: a UUIDv7 with the key's time, or a UUIDv8 if the key has no time."

COMMENTS = (
    tables.comment("COLUMN simulator.operations.payment_id", "The payment; NULL in rows of releases before 0.3.")
    + tables.comment("COLUMN simulator.operations.order_id", "The order; NULL in rows of releases before 0.3.")
    + tables.comment("INDEX simulator.operations_of_payment", "Records of one payment.")
    + tables.comment("INDEX simulator.operations_at", "Records of a period.")
    + tables.comment("COLUMN payments.id", _DERIVED)
    + tables.comment(
        "COLUMN operations.id", f"{_DERIVED} The idempotency key at the provider, the same at each attempt."
    )
    + tables.comment(
        "COLUMN payments.version",
        "Incremented by each change, and set to the clock (seconds since 1970) when the payment is adopted or told to "
        "order again. Sent as the ETag. Order applies only a newer snapshot.",
    )
)


def upgrade() -> None:
    """Add the columns, replace the function, and describe them."""
    for statements in (SIMULATOR, TRANSITIONS, COMMENTS):
        op.execute(statements)
