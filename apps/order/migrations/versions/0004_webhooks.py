"""Merchants' webhook endpoints, what is to be delivered to them, and each attempt at it."""

from alembic import op

revision = "0004"
down_revision = "0003"

ENDPOINTS = """
CREATE TABLE webhook_endpoints (
    merchant        text        NOT NULL,
    id              uuid        NOT NULL,
    url             text        NOT NULL,
    description     text,
    events          text[]      NOT NULL CHECK (cardinality(events) > 0),
    secrets         jsonb       NOT NULL,
    status          text        NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    disabled_reason text        CHECK ((disabled_reason IS NULL) = (status = 'enabled')),
    failures        integer     NOT NULL DEFAULT 0,
    paused_until    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (merchant, id)
);
-- What the step of an order looks at: who wants to be told.
CREATE INDEX webhook_endpoints_enabled ON webhook_endpoints (merchant) INCLUDE (id, events) WHERE status = 'enabled';
"""

# No foreign key to the endpoint: an order's step must neither wait for nor fail with one that is being deleted.
DELIVERIES = """
CREATE TABLE webhook_deliveries (
    merchant         text        NOT NULL,
    endpoint_id      uuid        NOT NULL,
    id               uuid        NOT NULL,
    order_id         uuid,
    type             text        NOT NULL,
    payload          text        NOT NULL,
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
    settled_at       timestamptz CHECK ((settled_at IS NULL) = (status = 'pending')),
    PRIMARY KEY (merchant, endpoint_id, id)
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (merchant, endpoint_id, available_at)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_order ON webhook_deliveries (merchant, endpoint_id, order_id, id)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (trying_since) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (merchant, endpoint_id) WHERE leased_until IS NOT NULL;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (merchant, endpoint_id, id) WHERE status = 'dead';
CREATE INDEX webhook_deliveries_created ON webhook_deliveries USING brin (created_at);
"""

ATTEMPTS = """
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
    FOREIGN KEY (merchant, endpoint_id, delivery_id) REFERENCES webhook_deliveries ON DELETE CASCADE
);
"""


def upgrade() -> None:
    """Create all three."""
    for statement in (ENDPOINTS, DELIVERIES, ATTEMPTS):
        op.execute(statement)
