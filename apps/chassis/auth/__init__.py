"""Authentication, authorization and rate limits: API keys, access tokens, and scopes."""
