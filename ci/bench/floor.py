"""The floor that services are measured against: Flask returning a constant, under the same gunicorn settings."""

from types import SimpleNamespace

from flask import Flask

app = Flask(__name__, static_folder=None)
# What gunicorn_conf serves on the admin port.
app.extensions["tandem"] = SimpleNamespace(name="floor", admin=app.wsgi_app)


@app.route("/", methods=["GET", "POST"])
def constant() -> tuple[str, dict[str, str]]:
    """Nothing but what Flask itself costs."""
    return '{"status": "ok"}', {"Content-Type": "application/json"}
