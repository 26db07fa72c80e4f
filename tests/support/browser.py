"""A user of a web page who has only a keyboard."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request


class Visitor:
    """A page that is used by keyboard, with the browser's errors and warnings (`complaints`).

    `scheme` is the color scheme, `light` or `dark`.
    """

    def __init__(self, page: Page, scheme: str) -> None:
        self.page, self.scheme = page, scheme
        self.complaints: list[str] = []
        page.set_default_timeout(20_000)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._on_failure)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_failure(self, request: Request) -> None:
        # A page that updates itself gives up its request when the user leaves it.
        if not (request.resource_type == "fetch" and "ERR_ABORTED" in str(request.failure)):
            self.complaints.append(f"{request.url}: {request.failure}")

    def tab_to(self, wanted: Locator, most: int = 300) -> None:
        """Press Tab until an element has the focus. Fails if Tab does not reach it."""
        wanted.wait_for()
        for _ in range(most):
            if wanted.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {wanted}")

    def press(self, wanted: Locator) -> None:
        """Press a button or link with Tab and Enter."""
        self.tab_to(wanted)
        self.page.keyboard.press("Enter")

    def write(self, wanted: Locator, text: str) -> None:
        """Replace the text of a field."""
        self.tab_to(wanted)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)

    def screenshot(self, folder: Path, name: str, about: Locator | None = None) -> Path:
        """Save a screenshot of the window, scrolled so that `about` is at its top. Prints and returns its path."""
        if about is not None:
            about.evaluate("element => element.scrollIntoView({block: 'start'})")
        path = folder / f"{name}-{self.scheme}.png"
        self.page.screenshot(path=path)
        print(f"screenshot: {path}")
        return path
