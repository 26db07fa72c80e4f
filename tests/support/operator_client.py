"""Somebody at the operator's page, without a browser: reads pages, sends their forms, keeps their cookie."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import requests

from tests.support.settings import OPERATOR_KEY


class Page(HTMLParser):
    """A page's text, its links, its forms with what is filled in, and the tags that there are."""

    def __init__(self, html: str) -> None:
        """Read it at once."""
        super().__init__()
        self.html = html
        self.text = ""
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: dict[str, str] = {}
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.refreshes = False
        self._link: str | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of it."""
        said = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= set(said)
        self.refreshes |= said.get("http-equiv") == "refresh"
        if tag == "a":
            self._link = said.get("href")
        elif tag == "form" and said.get("method") == "post":
            self.forms.append((said["action"], {}))
        elif tag == "input" and self.forms and said.get("type") == "hidden":
            self.forms[-1][1][said["name"]] = said["value"]

    def handle_endtag(self, tag: str) -> None:
        """A link ends, or a cell of text."""
        if tag not in ("a", "bdi", "code"):
            self.text += " "
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        """Text, of the page and perhaps of a link."""
        self.text += data
        if self._link is not None:
            self.links[data.strip()] = self._link


class Desk:
    """One browser, as it were: nothing is signed in before `sign_in`."""

    def __init__(self, url: str) -> None:
        """`url` is the admin port's."""
        self.url = url
        self.session = requests.Session()

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        """A page, without following where it leads."""
        return self.session.get(self.url + path, allow_redirects=False, timeout=30, **kwargs)

    def page(self, path: str) -> Page:
        """A page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return Page(answer.text)

    def send(self, path: str, fields: dict[str, str], **headers: str) -> requests.Response:
        """A form as a browser sends it; headers by name, `_` for `-`."""
        said = {"Origin": self.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.session.post(self.url + path, data=fields, headers=said, allow_redirects=False, timeout=30)

    def press(self, on: str, action: str, **fields: str) -> requests.Response:
        """Send the form of a page that goes to `action` and has most of these hidden fields, with all of them."""
        forms = [hidden for goes_to, hidden in self.page(on).forms if goes_to == action]
        assert forms, f"no form of {on} goes to {action}"
        likeliest: dict[str, str] = max(forms, key=lambda hidden: len(set(hidden.items()) & set(fields.items())))
        return self.send(action, {**likeliest, **fields})

    def sign_in(self, key: str = OPERATOR_KEY, wanted: str = "") -> requests.Response:
        """Present a key at the form."""
        page = self.page(f"/operator/sign-in{f'?wanted={wanted}' if wanted else ''}")
        _, hidden = page.forms[0]
        return self.send("/operator/sign-in", {**hidden, "key": key})

    @property
    def token(self) -> str:
        """The token of the session's forms."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/operator/pending").text)
        assert found is not None
        return unescape(found[1])
