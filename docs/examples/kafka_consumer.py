"""A consumer of Kafka: EVENTS_URL=kafka://host:port/topic python docs/examples/kafka_consumer.py"""

import os
import sqlite3

from confluent_kafka import Consumer

servers, topic = os.environ["EVENTS_URL"].removeprefix("kafka://").split("/")
db = sqlite3.connect(os.environ.get("CONSUMER_DB", "consumer.db"))
db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, order_id TEXT, type TEXT)")
settings = {"bootstrap.servers": servers, "group.id": "shop", "auto.offset.reset": "earliest"}
# Ten seconds after this consumer was killed, another one gets its partitions.
consumer = Consumer({**settings, "enable.auto.commit": False, "session.timeout.ms": 10_000})
consumer.subscribe([topic])
while True:
    message = consumer.poll(30)
    if message is None or message.error():
        continue  # no event, or a server is away: the library connects again
    event = {name: value.decode() for name, value in message.headers()}
    new = db.execute(
        "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (event["ce_id"], event["ce_subject"], event["ce_type"])
    )
    if new.rowcount:
        # Act, in the same transaction. message.value() has the order and the refund, as JSON.
        print(event["ce_type"], event["ce_subject"], event["ce_orderversion"], flush=True)
    db.commit()
    consumer.commit(message, asynchronous=False)
