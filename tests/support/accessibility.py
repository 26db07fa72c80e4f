"""Checks a page with axe (https://github.com/dequelabs/axe-core)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from playwright.sync_api import Page

MISSING = "axe-playwright-python, which has axe in it, is not installed: install requirements/dev.txt."

# Colors are between two while a transition runs, so axe waits for its end.
_RUN = r"""async () => (await Promise.allSettled(document.getAnimations()
        .filter(each => each.effect.getComputedTiming().endTime !== Infinity).map(each => each.finished)),
    await axe.run()).violations.map(violation =>
    `${violation.id}: ${violation.help}\n` + violation.nodes.map(node =>
        `    ${node.target.join(' ')}  ${node.html.slice(0, 60)} ${node.any[0]?.message ?? ''}`).join('\n'))"""


def violations(page: Page) -> list[str]:
    """Return what violates one of axe's rules, with the elements that do: the rules of WCAG 2, and best practices."""
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.fail(MISSING)
    page.evaluate((Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(_RUN)
    return found
