"""The OpenAPI documents of both services as files: `make openapi` writes them, a test compares them.

They are in the repository so that a change of the API is seen where it is reviewed, and so that clients can be made
from it without running anything.
"""

from __future__ import annotations

import json
import os
from unittest import mock

from flask import Flask

import order
import payment
from ci.state import ROOT

FOLDER = ROOT / "docs" / "openapi"
# No document depends on settings; a service does not start without a database's address, which nobody asks.
ENVIRONMENT = {"DATABASE_URL": "postgresql://localhost/none", "LOG_LEVEL": "error"}


def documents() -> dict[str, str]:
    """The document of each service, as its file has it."""
    return {
        name: json.dumps(application.test_client().get("/openapi.json").json, indent=2, ensure_ascii=False) + "\n"
        for name, application in applications().items()
    }


def applications() -> dict[str, Flask]:
    """Both services, which connect to nothing."""
    with mock.patch.dict(os.environ, ENVIRONMENT, clear=True):
        return {"order": order.create_app(), "payment": payment.create_app()}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        path = FOLDER / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
