"""Webhooks: events about orders, sent to the endpoints that a merchant has registered.

`webhook_deliveries` is a second outbox: a row commits with the change of the order that it reports, and a loop of
`flask relay` claims it. It is a table of its own because the commands in `outbox` are claimed in their sequence, which
skips over all rows that wait: the backlog of an endpoint that is down for days would slow these claims.
"""
