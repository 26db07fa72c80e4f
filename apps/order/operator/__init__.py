"""The operator's page: web pages on the order service's admin port that show the state of both services.

It reads the order database, reads payment over its API with order's API key, and offers a few of the actions that the
commands offer. The order service does not depend on it, and it opens its own database connections.
"""
