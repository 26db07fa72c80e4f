"""The operator's page: what both services do now, for people, on the order service's admin port.

It reads the order database, asks payment over its API as order does, and lets an operator do the few things that
commands do. Nothing of the service depends on it, and it has connections of its own.
"""
