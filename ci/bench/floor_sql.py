"""The baseline for a paid order: the SQL of both services in three transactions, run by pgbench.

The statements are those of the stores, with the values of one order. The transactions place the order, pay for it, and
apply payment's answer. HTTP, Python, claims and rereads are left out, so it measures only the database's work.
"""

import os
import re
import subprocess
from pathlib import Path

import psycopg

from chassis.postgres import migrate
from ci.laptop import launch
from ci.laptop.postgres import Postgres, binary
from order.store import placing, steps
from payment import settlements
from payment import store as payments

_KEYS = """SELECT uuidv7() AS oid, uuidv7() AS cid, uuidv7() AS pid, uuidv7() AS opid, uuidv7() AS eid,
    uuidv7() AS debit, uuidv7() AS credit \\gset
"""
_ITEMS = (
    '[{"kind": "item", "sku": "tea-100", "name": "Green tea, 100 g", "quantity": 2, "unit_amount": 450, "amount": 900,'
    ' "tax_amount": null}]'
)
_ENTRIES = """jsonb_build_array(
    jsonb_build_object('id', :debit::uuid, 'account', 'provider_clearing', 'direction', 'debit', 'amount', 1800),
    jsonb_build_object('id', :credit::uuid, 'account', 'merchant_payable', 'direction', 'credit', 'amount', 1800))"""
_PAYMENT = """jsonb_build_object('id', :pid::uuid, 'version', 2, 'status', 'captured', 'amount', 1800,
    'currency', 'EUR', 'captured_amount', 1800, 'refunded_amount', 0, 'refunding_amount', 0, 'failure_reason', NULL)"""

_ORDERS = f"""jsonb_build_array(jsonb_build_object(
    'merchant', 'demo', 'key', :oid::text, 'fingerprint', '\\x00', 'id', :oid::uuid, 'status', 'pending_payment',
    'currency', 'EUR', 'total_amount', 1800, 'items', '{_ITEMS}'::jsonb, 'customer', 'cus_17',
    'payment_method', 'pm_ok', 'capture', 'automatic', 'metadata', '{{"cart": "9"}}'::jsonb, 'version', 1,
    'asked', jsonb_build_array(jsonb_build_object('id', :cid::uuid, 'command', 'payment.create')),
    'state', '{{"metadata": {{"cart": "9"}}, "payment_method": "pm_ok"}}'::jsonb, 'event_id', :eid::uuid,
    'headers', '{{}}'::jsonb, 'command_id', :cid::uuid, 'topic', 'payment.create',
    'payload', jsonb_build_object('order_id', :oid::uuid, 'amount', 1800, 'currency', 'EUR')))"""
_PAY = {
    "merchant": "'demo'",
    "id": ":pid::uuid",
    "order_id": ":oid::uuid",
    "status": "'processing'",
    "amount": "1800",
    "currency": "'EUR'",
    "payment_method": "'pm_ok'",
    "capture": "'automatic'",
    "failure_reason": "NULL",
    "provider": "'simulator'",
    "headers": "'{}'",
    "expiry": "604800",
    "operation_id": ":opid",
    "kind": "'sale'",
    "lease": "20",
    "owner": "'bench'",
    "key": ":cid",
}
_SETTLED = f"""jsonb_build_array(jsonb_build_object(
    'merchant', 'demo', 'id', :opid::uuid, 'owner', 'bench', 'result', 'succeeded', 'reference', :opid::text,
    'next', 'captured', 'authorized', 1800, 'captured', 1800, 'refunded', 0, 'refunding', 0,
    'entries', {_ENTRIES}, 'event_id', :eid::uuid, 'answered', true))"""
_STEPS = f"""jsonb_build_array(jsonb_build_object(
    'merchant', 'demo', 'id', :oid::uuid, 'seen', 1, 'type', 'order.paid', 'actor', 'payment',
    'before', 'pending_payment', 'status', 'paid', 'paid_amount', 1800, 'refunded_amount', 0, 'refunding_amount', 0,
    'payment', {_PAYMENT}, 'past', '[]'::jsonb, 'payment_method', 'pm_ok', 'asked', '[]'::jsonb,
    'data', jsonb_build_object('payment_id', :pid::uuid, 'payment_status', 'captured'),
    'headers', '{{}}'::jsonb, 'event_id', :eid::uuid))"""


def _with(statement: str, values: dict[str, str]) -> str:
    # pgbench reads a colon and letters as a variable, in a time format too.
    statement = statement.replace("HH24:MI:SS", "HH24.MI.SS")
    return re.sub(r"%\((\w+)\)s", lambda name: values[name[1]], statement).strip() + ";\n"


def script() -> str:
    """Return the script that each pgbench client repeats: one order, from placed to paid."""
    return (
        _KEYS
        + _with(placing._INSERT_UNDER_KEYS, {"orders": _ORDERS})
        + "BEGIN;\nINSERT INTO pay.idempotency_keys (merchant, key, fingerprint, status, resource_id)"
        + " VALUES ('demo', :cid, '\\x00', 201, :pid::uuid) ON CONFLICT DO NOTHING;\n"
        + _with(payments._INSERT, _PAY)
        + _with(settlements._SETTLE, {"settled": _SETTLED}).replace(" outbox", " pay.outbox")
        + "COMMIT;\nBEGIN;\n"
        + "UPDATE outbox SET delivered_at = now() WHERE id = :cid::uuid AND delivered_at IS NULL;\n"
        + _with(steps._WRITE_ONLY, {"steps": _STEPS})
        + "COMMIT;\n"
    )


class Floor:
    """A database with the tables of both services, and pgbench to run the script on it."""

    def __init__(self, server: Postgres, folder: Path, migrations: tuple[str, str]) -> None:
        """`migrations` are the folders of order's and payment's migrations. Raises psycopg.Error."""
        self._url = server.create_database("floor")
        with psycopg.connect(self._url, autocommit=True) as session:
            session.execute("CREATE SCHEMA IF NOT EXISTS pay")
        migrate.upgrade(self._url, migrations[0])
        migrate.upgrade(f"{self._url}?options=-csearch_path%3Dpay", migrations[1])
        self._paid, self._placed = folder / "paid.sql", folder / "placed.sql"
        self._paid.write_text(script())
        self._placed.write_text(_KEYS + _with(placing._INSERT_UNDER_KEYS, {"orders": _ORDERS}))

    def rate(self, clients: int, seconds: float, *, placed_only: bool = False) -> float:
        """Return the orders per second, from placed to paid or only placed.

        Raises RuntimeError if a transaction fails.
        """
        path = self._placed if placed_only else self._paid
        argv = [binary("pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"]
        argv += [f"--time={max(1, round(seconds))}", f"--file={path}", self._url]
        env = {**os.environ, "PGOPTIONS": "-csearch_path=public,pay"}
        done = subprocess.run(launch.with_parent(argv, "TERM"), env=env, capture_output=True, text=True, check=False)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or found is None or (failed and failed[1] != "0"):
            raise RuntimeError(f"pgbench failed:\n{done.stdout}{done.stderr}")
        return float(found[1])
