"""A consumer of the feed: ORDER_URL=... API_KEY=... python docs/examples/feed_consumer.py"""

import os
import sqlite3
import time

import requests

URL, KEY = os.environ["ORDER_URL"], os.environ["API_KEY"]
db = sqlite3.connect(os.environ.get("CONSUMER_DB", "consumer.db"))
db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, order_id TEXT, type TEXT)")
db.execute("CREATE TABLE IF NOT EXISTS position (cursor TEXT)")
while True:
    row = db.execute("SELECT cursor FROM position").fetchone()
    query = {"wait": 10, "limit": 100, **({"after": row[0]} if row else {})}
    answer = requests.get(f"{URL}/v1/events", params=query, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
    if answer.status_code != 200:
        time.sleep(float(answer.headers.get("Retry-After", 1)))
        continue
    for event in answer.json()["data"]:
        new = db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (event["id"], event["order_id"], event["type"]))
        if new.rowcount:
            print(event["type"], event["order_id"], event["version"], flush=True)  # act, in the same transaction
    db.execute("DELETE FROM position")
    db.execute("INSERT INTO position VALUES (?)", (answer.json()["next_cursor"],))
    db.commit()
