"""A webhook receiver: WEBHOOK_SECRET=whsec_... flask --app docs/examples/webhook_receiver run --port 5000"""

import os

from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # in production a table, written in the transaction that acts on the event


@app.post("/hook")
def hook() -> tuple[str, int]:
    """Verify the signature, act on each event once, and respond at once."""
    try:
        event = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    if request.headers["webhook-id"] not in seen:
        seen.add(request.headers["webhook-id"])
        print(event["type"], event["data"].get("id"), event["data"].get("version"), flush=True)
    return "", 204
