"""`make browser`: a real Chromium and real services."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from ci import ROOT
from ci.laptop.launch import runs_as_root
from tests.support.browser import Visitor
from tests.support.fixtures.postgres import server, templates
from tests.support.fixtures.processes import stack

__all__ = ["server", "stack", "templates"]

ARGUMENTS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM_MISSING = (
    "The browser tests need Chromium: install it (Debian: apt-get install chromium), "
    "or set TANDEM_CHROMIUM to the program of a Chromium or Chrome."
)

# Three updates of a page that shows what has changed: they are five seconds apart.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The installed Chromium."""
    program = os.environ.get("TANDEM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or not Path(program).exists():
        pytest.exit(CHROMIUM_MISSING, returncode=2)
    arguments = [*ARGUMENTS, "--no-sandbox"] if runs_as_root() else ARGUMENTS
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def artifacts() -> Path:
    """The folder for screenshots, which git ignores."""
    folder = ROOT / ".artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def visitor(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Visitor]:
    """A user with a new browser window. The color scheme is `light`, or the test's indirect parameter."""
    scheme: Literal["light", "dark"] = getattr(request, "param", "light")
    with browser.new_context(viewport={"width": 1200, "height": 1000}, color_scheme=scheme) as context:
        yield Visitor(context.new_page(), scheme)
