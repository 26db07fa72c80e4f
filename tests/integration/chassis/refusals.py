"""Checks of the problem that every rejected request gets."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from chassis.http.problems import CATALOGUE
from tests.integration.pair import Client

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}


def refused(response: requests.Response, status: int, name: str, *pointers: str) -> dict[str, Any]:
    """Assert that the response is this problem, with errors for exactly these fields. Returns its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) - {"errors"} == MEMBERS
    assert (body["type"], body["status"]) == (f"/problems/{name}", status)
    assert body["title"] == CATALOGUE[name].title
    assert body["instance"].isascii()  # it is a URI reference
    assert unquote(body["instance"]) == unquote(urlsplit(response.url).path)
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["detail"]
    assert "Traceback" not in response.text
    assert sorted(error["pointer"] for error in body.get("errors", [])) == sorted(pointers)
    assert all(error["detail"] for error in body.get("errors", []))
    return body


def send(client: Client, path: str, data: bytes, **headers: str) -> requests.Response:
    """POST these bytes as JSON. `headers` are written with `_` for `-`; "" removes one."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wanted = {"Content-Type": "application/json", "Idempotency-Key": "bytes", **named}
    return client.request("POST", path, data=data, headers={name: value for name, value in wanted.items() if value})
