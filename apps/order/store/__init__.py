"""The order service's SQL. PostgreSQL builds the JSON of responses from the rows."""
