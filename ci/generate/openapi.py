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
from ci import ROOT
from ci.generate import files

FOLDER = ROOT / "docs" / "openapi"
# The documents do not depend on settings. A service requires DATABASE_URL to start, but nothing connects to it here.
ENVIRONMENT = {"DATABASE_URL": "postgresql://localhost/none", "LOG_LEVEL": "error"}


def texts() -> dict[Path, str]:
    """Return the text of each service's document by its path."""
    return {
        FOLDER / f"{name}.json": json.dumps(document(application), indent=2, ensure_ascii=False) + "\n"
        for name, application in applications().items()
    }


def document(application: Flask) -> object:
    """Return the OpenAPI document that an application serves."""
    return application.test_client().get("/openapi.json").json


def applications() -> dict[str, Flask]:
    """Return both services' applications by name. They connect to nothing."""
    with mock.patch.dict(os.environ, ENVIRONMENT, clear=True):
        return {"order": order.create_app(), "payment": payment.create_app()}


if __name__ == "__main__":
    files.main(texts(), "openapi")
