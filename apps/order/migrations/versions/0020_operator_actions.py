"""What operators have done on their page: who, when, what, and why."""

from alembic import op

from chassis.postgres import tables

revision = "0020"
down_revision = "0018"

ACTIONS = """
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
CREATE INDEX operator_actions_of_order ON operator_actions (merchant, order_id, id) WHERE order_id IS NOT NULL;
CREATE INDEX operator_actions_newest ON operator_actions (id);
"""

COMMENTS = (
    tables.comments(
        "operator_actions",
        "What operators have done on their page. Append-only, and never purged.",
        merchant="Merchant that the action concerns; empty if it concerns all, such as the simulator's faults.",
        id="UUIDv7.",
        at="Time of the action.",
        who="The operator's API key: its id, name and merchant. Never the key itself.",
        action="refund, capture, cancel, send, redeliver, redeliver_all, enable or switch_faults.",
        order_id="The order that was changed, or whose command or webhook was sent again.",
        target="What else was acted on: a command, a delivery, an endpoint, or the faults that were set.",
        amount="Money that the operator confirmed to move, in minor units; NULL if none.",
        currency="Currency of the amount (ISO 4217).",
        reason="Why, in the operator's words; empty for actions that ask for none.",
        outcome="done: the request committed with this row, and its result with the provider is in the history of the "
        "order. refused: nothing was changed. unknown: payment did not answer.",
        detail="Why it was refused, or how much was done.",
        request_id="X-Request-Id of the action; sent with everything that it causes.",
    )
    + tables.comment("INDEX operator_actions_of_order", "The actions of an order, on its page.")
    + tables.comment("INDEX operator_actions_newest", "The list of all actions.")
)


def upgrade() -> None:
    """Create the table."""
    op.execute(ACTIONS)
    op.execute(tables.append_only("operator_actions"))
    op.execute(COMMENTS)
