"""The order service's SQL. PostgreSQL builds the JSON of responses, because it has the rows at hand."""
