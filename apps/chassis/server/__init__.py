"""The processes that serve: gunicorn with a worker of our own, and the admin port."""
