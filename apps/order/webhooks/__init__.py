"""Webhooks: what happens to an order is told to the endpoints that its merchant has registered.

`webhook_deliveries` is an outbox of its own: a row commits with the step of the order that it tells, and a loop of the
relay leases it. It is not the table `outbox`, because that one's commands to payment are claimed in the order of their
sequence, past everything that waits: an endpoint that is dead for days would leave its backlog in their way.
"""
