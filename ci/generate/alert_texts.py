"""What each alert means, and what to look at first. The alerts' annotation `description`.

A description has no template variables, so it also fits a list of alerts. The summary has the value.
"""

from __future__ import annotations

DESCRIPTIONS = {
    "TandemErrorBudgetBurn": (
        "Callers get 5xx responses faster than the objective allows. No request that got one is half done: callers"
        " repeat it with the same key. Look at the database and at the last deployment first."
    ),
    "TandemSlow": (
        "Reads wait: usually for a lock on a table, a database at its limits, or a free thread. Callers may time out"
        " and repeat their requests."
    ),
    "TandemGone": (
        "Either no pod runs, or Prometheus cannot reach any. Nothing else is known about the service while this lasts."
    ),
    "TandemDatabaseDown": (
        "The pod answers requests with 503 and is not ready. Acknowledged orders are safe, new ones are not accepted."
    ),
    "TandemRelayNotRunning": (
        "Requests are still accepted, but nothing is sent to the other service or to the provider until the relay runs"
        " again. Nothing is lost."
    ),
    "TandemOutboxStuck": (
        "A message to the other service is retried without success. Orders or outcomes wait; none is lost. Look at why"
        " the other service refuses it or does not answer."
    ),
    "TandemBreakerOpen": (
        "Calls to the destination failed so often that only single ones are tried now. Messages wait in the outbox"
        " until it answers again."
    ),
    "TandemOrdersWaiting": (
        "Customers wait for the outcome of a payment, a cancellation or a refund. Look at the relay, at payment, and at"
        " the provider, in this order."
    ),
    "TandemOrphanPayments": (
        "A customer may have paid for an order that order does not know, for example after a restore. List them with"
        " `./tandem-admin --cluster order orphans`."
    ),
    "TandemEventsDelayed": (
        "The feed shows no event that a running transaction could still precede. Consumers are late, and lose nothing."
        " Look for a long transaction in the order database, and end it."
    ),
    "TandemEventsUnpublished": (
        "The broker is away or refuses events, or the publisher does not run. Orders, the feed and webhooks do not wait"
        " for it. The events are published when the cause is gone."
    ),
    "TandemWebhooksDead": (
        "Merchants' receivers failed until the last attempt. The events can be sent again; the merchants can also read"
        " the orders."
    ),
    "TandemWebhooksLate": (
        "A merchant's receiver fails, or the sender does not run. Orders and payments are not affected."
    ),
    "TandemOperationsStuck": (
        "Money may have moved, and the provider does not say whether. It is asked again until it does; after an hour a"
        " person must look at the provider."
    ),
    "TandemProviderFailing": (
        "The provider or the network to it fails. Outcomes are looked up later, and nobody is charged twice."
    ),
    "TandemProviderSlow": "Threads wait for the provider. With more of it, requests to payment get 503.",
    "TandemDeclines": (
        "A decline is an answer of the provider, not a fault of this system. So many at once hint at a wrong setting of"
        " the account, a fraud filter or an attack with stolen cards."
    ),
    "TandemMoneyChanged": (
        "A refund failed after it had succeeded, somebody refunded at the provider, or a customer disputes a charge."
        " Nothing is changed here. The log entry `provider_needs_attention` names the payment."
    ),
}

UNITS = {
    "TandemErrorBudgetBurn": "share of requests, 0 to 1",
    "TandemSlow": "share of requests, 0 to 1",
    "TandemGone": "1 while no pod is scraped",
    "TandemDatabaseDown": "0 while a pod cannot reach its database",
    "TandemRelayNotRunning": "seconds since the last beat, or 1 if there was none",
    "TandemOutboxStuck": "seconds",
    "TandemBreakerOpen": "1 while it is open",
    "TandemOrdersWaiting": "seconds",
    "TandemOrphanPayments": "payments",
    "TandemEventsDelayed": "seconds",
    "TandemEventsUnpublished": "seconds",
    "TandemWebhooksDead": "webhooks",
    "TandemWebhooksLate": "seconds",
    "TandemOperationsStuck": "seconds",
    "TandemProviderFailing": "share of calls, 0 to 1",
    "TandemProviderSlow": "seconds",
    "TandemDeclines": "share of payments, 0 to 1",
    "TandemMoneyChanged": "events of the provider, estimated",
}
"""The unit of each alert's value, in the annotation `unit`."""
