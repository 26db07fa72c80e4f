"""Orders have a `reference`, the shop's own order number, and lines of several kinds."""

from alembic import op

from chassis.postgres import tables

revision = "0021"
down_revision = "0020"

COLUMN = "ALTER TABLE orders ADD COLUMN IF NOT EXISTS reference text"

# As in 0001, and `reference` never changes either: events show it as it stands in the order's row.
GUARD = """
CREATE OR REPLACE FUNCTION orders_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
"""

COMMENTS = (
    (
        "COLUMN orders.items",
        "Lines as they were placed: kind, sku, name, quantity, unit_amount, amount, tax_amount. Immutable. "
        "Without kind and tax_amount if a release before 0.3 or the sketch's API wrote them.",
    ),
    ("COLUMN orders.reference", "The shop's own order number; NULL if it has none. Immutable."),
    ("INDEX orders_reference", "No two orders of a merchant have the same reference; lists by reference."),
)


def upgrade() -> None:
    """Add the column, which rewrites no row, and build its unique index without blocking writes.

    The release before this one writes no reference, so the index refuses none of its orders.
    """
    tables.alter_quickly(op, COLUMN)
    tables.index_concurrently(
        op, "orders_reference", "orders (merchant, reference) WHERE reference IS NOT NULL", unique=True
    )
    op.execute(GUARD)
    for on, text in COMMENTS:
        op.execute(tables.comment(on, text))
