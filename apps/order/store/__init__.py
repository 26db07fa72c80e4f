"""The order service's SQL. PostgreSQL builds the JSON of responses from the rows, except that of a new order."""
