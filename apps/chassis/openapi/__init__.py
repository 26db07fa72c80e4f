"""The OpenAPI document of a service, and the documentation page that shows it."""
