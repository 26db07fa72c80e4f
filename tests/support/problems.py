"""The form of every problem response of both services."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from tests.support.catalogues import TITLES
from tests.support.pair import Client

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}
EXTENSIONS = {"reference-taken": {"order_id"}}
"""Members that problems of some kinds have in addition."""


def refused(response: requests.Response, status: int, name: str, *pointers: str) -> dict[str, Any]:
    """Assert that a response is this problem and names exactly these fields. Return its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) - {"errors"} == MEMBERS | EXTENSIONS.get(name, set())
    assert (urlsplit(body["type"]).path, body["status"]) == (f"/problems/{name}", status)
    assert body["title"] == TITLES[name]
    assert body["instance"].isascii()  # a URI reference
    assert unquote(body["instance"]) == unquote(urlsplit(response.url).path)
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["detail"]
    assert "Traceback" not in response.text
    assert sorted(error["pointer"] for error in body.get("errors", [])) == sorted(pointers)
    assert all(error["detail"] for error in body.get("errors", []))
    return body


def send(client: Client, path: str, data: bytes, **headers: str) -> requests.Response:
    """POST these bytes as JSON. More headers by name, `_` for `-`; an empty value omits the header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wanted = {"Content-Type": "application/json", "Idempotency-Key": "bytes", **named}
    return client.request("POST", path, data=data, headers={name: value for name, value in wanted.items() if value})
