"""HTTP for all services: parsing, validation, JSON responses, problems, idempotency keys and lists."""
