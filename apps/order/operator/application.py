"""The operator's page as an application of its own: its parts, its gate, and how it says that something went wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, make_response, render_template
from werkzeug.exceptions import HTTPException

from chassis.auth.guard import Guard
from chassis.http.problems import CATALOGUE, Problem
from chassis.postgres.database import UNAVAILABLE, Database
from chassis.server import admin
from chassis.telemetry import logs
from order.config import Settings
from order.operator import gate, words
from order.operator.payments import Payments
from order.operator.sessions import Sessions
from order.webhooks.service import Webhooks

log = logs.get_logger()

PATH = "/operator"

NAME = "tandem-operator"

AT_ONCE = 4
"""So many pages are made by a process at the same time: each has connections to the database, and takes its time."""
PATIENCE = 5.0
"""How long one more waits for its turn, in seconds."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a view finds with `parts()`: everything has connections of its own, closed when the request is over."""

    database: Database
    guard: Guard
    sessions: Sessions
    payments: Payments
    webhooks: Webhooks

    def close(self) -> None:
        """Close this thread's connections: the thread ends with the request."""
        self.guard.close()
        self.database.close()
        self.payments.close()


def parts() -> Parts:
    """The parts of the application that is handling the current request."""
    found: Parts = current_app.extensions[NAME]
    return found


def create(settings: Settings) -> Flask:
    """The Flask application; views are added by `views` and `actions`. It connects to nothing until it has to."""
    app = Flask("order.operator", static_url_path=f"{PATH}/static", static_folder="static")
    app.config.update(MAX_CONTENT_LENGTH=16 * 1024, MAX_FORM_PARTS=20, SEND_FILE_MAX_AGE_DEFAULT=0)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    database = Database(settings.database_url, "operator", statement_timeout=5.0)
    guard = Guard("order", settings, database)
    sessions = Sessions(database, guard)
    app.extensions[NAME] = Parts(
        database,
        guard,
        sessions,
        Payments(settings.payment_url, settings.payment_api_key),
        Webhooks(database, settings.webhooks),
    )
    words.register(app)
    gate.register(app, PATH, sessions)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _exception)
    return app


def wsgi(app: Flask) -> admin.Application:
    """The application for the admin port."""
    held: Parts = app.extensions[NAME]
    room = threading.BoundedSemaphore(AT_ONCE)

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not room.acquire(timeout=PATIENCE):
            busy = Response("Too many pages are being made.\n", 503, {"Retry-After": "1"}, mimetype="text/plain")
            return busy(environ, start_response)
        try:
            return app(environ, start_response)
        finally:
            held.close()
            room.release()

    return serve


def message(title: str, text: str, status: int) -> Response:
    """A page that says one thing."""
    return make_response(render_template("message.html", title=title, text=text), status)


def _problem(problem: Problem) -> Response:
    response = message(CATALOGUE[problem.name].title, problem.detail, problem.status)
    response.headers.update(problem.headers)
    return response


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return make_response(error.get_response())
    return message(error.name, error.description or "", status)


def _exception(error: Exception) -> Response:
    if isinstance(error, UNAVAILABLE):
        log.warning("database_unavailable", error=error)
        response = message(
            "The order database does not answer", "Nothing can be shown or done until it does. Try again soon.", 503
        )
        response.headers["Retry-After"] = "1"
        return response
    log.error("unexpected", exc_info=error)
    return message("An unexpected error", "Nothing is half done. The log of this pod has more.", 500)
