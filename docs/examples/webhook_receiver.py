"""A receiver of webhooks: WEBHOOK_SECRET=whsec_... flask --app docs/examples/webhook_receiver run --port 5000"""

import os

from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # in earnest a table, written in the transaction of what the event leads to


@app.post("/hook")
def hook() -> tuple[str, int]:
    """Believe what is signed, act on it once, and answer at once."""
    try:
        event = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    if request.headers["webhook-id"] not in seen:
        seen.add(request.headers["webhook-id"])
        print(event["type"], event["data"].get("id"), event["data"].get("version"), flush=True)
    return "", 204
