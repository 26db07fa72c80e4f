"""The baseline for requests: a Flask application that returns a constant, with the services' gunicorn settings."""

from types import SimpleNamespace

from flask import Flask

app = Flask(__name__, static_folder=None)
# gunicorn_conf serves `admin` on the admin port.
app.extensions["tandem"] = SimpleNamespace(name="floor", admin=app.wsgi_app)


@app.route("/", methods=["GET", "POST"])
def constant() -> tuple[str, dict[str, str]]:
    """Return a constant."""
    return '{"status": "ok"}', {"Content-Type": "application/json"}
