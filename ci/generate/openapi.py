"""`make openapi`: write both services' OpenAPI documents to docs/openapi.

The files are committed so that a change of the API shows in its review, and so that clients can be generated from them
without a running service. A test checks that they are up to date.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

from flask import Flask

import order
import payment
from chassis.openapi.parts import WEBHOOKS
from ci import ROOT
from ci.generate import files

FOLDER = ROOT / "docs" / "openapi"
WIDTH = 120
# The documents do not depend on settings. A service requires DATABASE_URL to start, but nothing connects to it here.
ENVIRONMENT = {"DATABASE_URL": "postgresql://localhost/none", "LOG_LEVEL": "error"}


def texts() -> dict[Path, str]:
    """Return the text of each service's documents by its path."""
    found = {}
    for name, application in applications().items():
        for part, path in {"": "/openapi.json", "-webhooks": WEBHOOKS}.items():
            found[FOLDER / f"{name}{part}.json"] = text(document(application, path)) + "\n"
    return found


def document(application: Flask, path: str = "/openapi.json") -> object:
    """Return an OpenAPI document that an application serves."""
    return application.test_client().get(path).json


def text(value: object, indent: int = 0, before: int = 0) -> str:
    """Return JSON for readers: what fits in a line of WIDTH characters is in one line.

    `indent` is that of the line, and `before` how many of its characters come before the value.
    """
    line = json.dumps(value, ensure_ascii=False)
    if indent + before + len(line) < WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + 2
    if isinstance(value, dict):
        heads = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        parts = [head + text(part, inner, len(head)) for head, part in zip(heads, value.values(), strict=True)]
    else:
        parts = [text(part, inner) for part in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(" " * inner + part for part in parts)
    return f"{opening}\n{lines}\n{' ' * indent}{closing}"


def applications() -> dict[str, Flask]:
    """Return both services' applications by name. They connect to nothing."""
    with mock.patch.dict(os.environ, ENVIRONMENT, clear=True):
        return {"order": order.create_app(), "payment": payment.create_app()}


if __name__ == "__main__":
    files.main(texts(), "openapi")
