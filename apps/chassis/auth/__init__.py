"""Who may call: API keys, access tokens, scopes and rate limits."""
