"""The `flask` commands that both services have."""
