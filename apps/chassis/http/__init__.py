"""HTTP as both services speak it: problems, parsing, validation, answers, idempotency keys."""
