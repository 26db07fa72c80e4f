"""Somebody who looks at a page and has a keyboard."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page


class Visitor:
    """A page, the keyboard before it, and what the browser has complained of since it was opened."""

    def __init__(self, page: Page, scheme: str) -> None:
        """`scheme` is `light` or `dark`."""
        self.page, self.scheme = page, scheme
        self.complaints: list[str] = []
        page.set_default_timeout(20_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.complaints.append(f"{request.url}: {request.failure}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def tab_to(self, wanted: Locator, most: int = 300) -> None:
        """Press Tab until something has the focus; fails when it can't be reached so."""
        wanted.wait_for()
        for _ in range(most):
            if wanted.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {wanted}")

    def press(self, wanted: Locator) -> None:
        """Press a button, by Tab and Enter."""
        self.tab_to(wanted)
        self.page.keyboard.press("Enter")

    def write(self, wanted: Locator, text: str) -> None:
        """Write a text into a field, in place of what it holds."""
        self.tab_to(wanted)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)

    def keep_picture(self, folder: Path, name: str, about: Locator | None = None) -> Path:
        """A picture of the window, with what it is about at its top; its path is printed."""
        if about is not None:
            about.evaluate("element => element.scrollIntoView({block: 'start'})")
        path = folder / f"{name}-{self.scheme}.png"
        self.page.screenshot(path=path)
        print(f"picture: {path}")
        return path
