"""A client of the operator's pages: it reads pages, sends their forms and keeps the cookie."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import requests

from tests.support.settings import OPERATOR_KEY


class Page(HTMLParser):
    """The text of a page, its links, its forms with their hidden fields, its scripts, its tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: dict[str, str] = {}
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.refreshes = False
        self.scripts: list[str] = []
        self._link: str | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect tags, attributes, links and forms."""
        said = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= set(said)
        self.refreshes |= said.get("http-equiv") == "refresh"
        if tag == "script":
            self.scripts.append(said.get("src", "inline"))
        if tag == "a":
            self._link = said.get("href")
        elif tag == "form" and said.get("method") == "post":
            self.forms.append((said["action"], {}))
        elif tag == "input" and self.forms and said.get("type") == "hidden":
            self.forms[-1][1][said["name"]] = said["value"]

    def handle_endtag(self, tag: str) -> None:
        """Separate texts, and end a link."""
        if tag not in ("a", "bdi", "code"):
            self.text += " "
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        """Collect the text of the page and of links."""
        self.text += data
        if self._link is not None:
            self.links[data.strip()] = self._link


class Desk:
    """A session with the operator's pages at an admin port. It is signed out until `sign_in`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        """GET a path without following redirects."""
        return self.session.get(self.url + path, allow_redirects=False, timeout=30, **kwargs)

    def page(self, path: str) -> Page:
        """GET a path, assert that the response is 200, and return the page."""
        answer = self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return Page(answer.text)

    def send(self, path: str, fields: dict[str, str], **headers: str) -> requests.Response:
        """POST form fields as a browser does. More headers by name, `_` for `-`."""
        said = {"Origin": self.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.session.post(self.url + path, data=fields, headers=said, allow_redirects=False, timeout=30)

    def press(self, on: str, action: str, **fields: str) -> requests.Response:
        """Send a form of the page `on` with these fields.

        If the page has several forms with this `action`, choose the one whose hidden fields match `fields` best.
        """
        forms = [hidden for goes_to, hidden in self.page(on).forms if goes_to == action]
        assert forms, f"no form of {on} goes to {action}"
        likeliest: dict[str, str] = max(forms, key=lambda hidden: len(set(hidden.items()) & set(fields.items())))
        return self.send(action, {**likeliest, **fields})

    def sign_in(self, key: str = OPERATOR_KEY, wanted: str = "") -> requests.Response:
        """Sign in with a key."""
        page = self.page(f"/operator/sign-in{f'?wanted={wanted}' if wanted else ''}")
        _, hidden = page.forms[0]
        return self.send("/operator/sign-in", {**hidden, "key": key})

    @property
    def token(self) -> str:
        """The CSRF token of the session's forms."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/operator/pending").text)
        assert found is not None
        return unescape(found[1])
