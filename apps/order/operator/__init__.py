"""The operator's page: web pages on the order service's admin port that show the state of both services.

It reads the order database, reads payment over its API with order's API key, and offers actions: the use cases of the
API and of the commands, with an audit. The order service does not depend on it, and it opens its own database
connections.
"""
