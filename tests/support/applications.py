"""Creates a service's application with settings of a test, and calls it without a network."""

from __future__ import annotations

import os
import uuid
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import order
import payment
from tests.support.catalogues import TITLES
from tests.support.databases import Databases
from tests.support.settings import environment

SERVICES = ("order", "payment")


def make(databases: Databases, service: str, *, url: str | None = None, **settings: str) -> Flask:
    """Return a service's application. `url` is its database's; the default is the one in `databases`."""
    wanted = environment(url or databases.service_url(service), settings)
    with mock.patch.dict(os.environ, wanted):
        return order.create_app() if service == "order" else payment.create_app()


def get(app: Flask | FlaskClient, key: str | None, address: str = "127.0.0.1", **headers: str) -> TestResponse:
    """GET a resource that does not exist: 404 for a key that may read. More headers by name, `_` for `-`."""
    service = (app.application if isinstance(app, FlaskClient) else app).name
    named: dict[str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        named["Authorization"] = f"Bearer {key}"
    client = app if isinstance(app, FlaskClient) else app.test_client()
    return client.get(f"/v1/{service}s/{uuid.uuid4()}", headers=named, environ_base={"REMOTE_ADDR": address})


def refused(response: TestResponse, status: int, name: str) -> dict[str, Any]:
    """Assert that a response is this problem, and return its body."""
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.text
    body: dict[str, Any] = response.get_json()
    assert (urlsplit(body["type"]).path, body["status"]) == (f"/problems/{name}", status)
    assert body["title"] == TITLES[name]
    return body
