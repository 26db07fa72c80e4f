"""The `flask` commands that every service has."""
