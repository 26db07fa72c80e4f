"""A consumer of the broker: EVENTS_URL=nats://... python docs/examples/nats_consumer.py"""

import asyncio
import json
import os
import sqlite3

import nats
from nats.js.api import ConsumerConfig

db = sqlite3.connect(os.environ.get("CONSUMER_DB", "consumer.db"))
db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, order_id TEXT, type TEXT)")


async def main() -> None:
    client = await nats.connect(os.environ["EVENTS_URL"].split(","), max_reconnect_attempts=-1)
    # One event at a time: one that is delivered again, because it was not acknowledged, then precedes later ones.
    config = ConsumerConfig(max_ack_pending=1, ack_wait=5)
    events = await client.jetstream().pull_subscribe("tandem.*.order.>", "shop", stream="TANDEM", config=config)
    while True:
        try:
            (message,) = await events.fetch(1, timeout=30)
        except nats.errors.TimeoutError:
            continue  # no event
        event = json.loads(message.data)
        new = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (event["id"], event["subject"], event["type"]))
        if new.rowcount:
            print(event["type"], event["subject"], event["orderversion"], flush=True)  # act, in the same transaction
        db.commit()
        await message.ack()


asyncio.run(main())
