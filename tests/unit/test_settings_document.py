"""The tables of settings in the documents have every setting, and its default."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import order.config
import payment.config
from chassis import config
from chassis.server import gunicorn_conf

ROW = re.compile(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| ([^|]+) \|", re.MULTILINE)
OPENTELEMETRY = "OTEL_"

Defaults = dict[str, str]


def documented(document: str, heading: str = "") -> Defaults:
    """Return the settings in the tables after a heading, and what is in their second column."""
    text = Path("docs", document).read_text()
    rows = ROW.findall(text[text.index(heading) :])
    return {
        each.removesuffix("_FILE"): cell.strip("` ") for names, cell in rows for each in re.findall("[A-Z_]+", names)
    }


def written(default: Any) -> str:
    """Return a default as the documents write it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:.10g}"
    return {"": "none", None: "none", ...: "required"}.get(default, str(default))


class Recorder:
    """A reader of the environment that remembers what it was asked for."""

    def __init__(self, found: Defaults) -> None:
        self._found, self._reader = found, config._Reader(strip_whitespace=True)

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        read = getattr(self._reader, kind)

        def record(name: str, default: Any = ...) -> Any:
            if not name.startswith(OPENTELEMETRY):
                self._found.setdefault(name, written(default))
            return read(name, default)

        return record


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Defaults:
    """What the processes read from the environment when they start, and the default of each."""
    source = Path(gunicorn_conf.__file__).read_text()
    found = dict(re.findall(r'startup\.\w+\((?:_host, )?"([A-Z_]+)", (\d+)', source))
    assert len(found) == 8, "the numbers of the web server"
    found |= {"OPERATOR_PORT": "none", "HOST": "none", "TRUSTED_CA": "none"}
    monkeypatch.setattr(config, "reader", lambda: Recorder(found))
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/order")
    monkeypatch.setenv("JWT_ISSUER", "https://issuer.example")
    monkeypatch.setenv("JWT_AUDIENCE", "tandem")
    monkeypatch.setenv("JWT_JWKS_URL", "https://issuer.example/keys")
    config.migration_url()
    order.config.load()
    payment.config.load()
    return found | {"MIGRATION_DATABASE_URL": "none"}


def test_every_setting_is_documented_with_its_default(read: Defaults) -> None:
    publisher = {name for name in read if name.startswith("EVENTS_") and name != "EVENTS_SECRETS"}
    assert publisher <= documented("events.md").keys()
    assert documented("settings.md") | documented("webhooks.md", "## Settings") == {
        name: default for name, default in read.items() if name not in publisher
    }
