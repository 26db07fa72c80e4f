"""The transactional outbox, leased rows and the loops that work on them, calls to other services, signed events."""
