"""The OpenAPI document of a service, and the page that shows it."""
