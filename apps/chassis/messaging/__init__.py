"""The transactional outbox, the loops that work on leased rows, and calls to the other service."""
