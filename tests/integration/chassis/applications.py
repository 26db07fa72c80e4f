"""Applications with settings of a test, called without a network."""

from __future__ import annotations

import os
import uuid
from typing import Any
from unittest import mock

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import order
import payment
from chassis.http.problems import CATALOGUE
from tests.integration.databases import Databases
from tests.integration.settings import environment

SERVICES = ("order", "payment")


def make(databases: Databases, service: str, *, url: str | None = None, **settings: str) -> Flask:
    """Create an application. `url` replaces the URL of its database in `databases`."""
    wanted = environment(url or getattr(databases, service), settings)
    with mock.patch.dict(os.environ, wanted):
        return order.create_app() if service == "order" else payment.create_app()


def get(app: Flask | FlaskClient, key: str | None, address: str = "127.0.0.1", **headers: str) -> TestResponse:
    """GET a resource that does not exist: 404 if the key may read. `headers` are written with `_` for `-`."""
    service = (app.application if isinstance(app, FlaskClient) else app).name
    named: dict[str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        named["Authorization"] = f"Bearer {key}"
    client = app if isinstance(app, FlaskClient) else app.test_client()
    return client.get(f"/v1/{service}s/{uuid.uuid4()}", headers=named, environ_base={"REMOTE_ADDR": address})


def refused(response: TestResponse, status: int, name: str) -> dict[str, Any]:
    """Assert that the response is this problem, and return its body."""
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.text
    body: dict[str, Any] = response.get_json()
    assert (body["type"], body["status"]) == (f"/problems/{name}", status)
    assert body["title"] == CATALOGUE[name].title
    return body
