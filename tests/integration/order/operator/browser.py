"""A minimal browser for the operator's page: reads pages, submits forms, keeps the cookie."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import requests

from tests.integration.settings import OPERATOR_KEY


class Page(HTMLParser):
    """A parsed page.

    `links` maps link text to URL. `forms` lists the POST forms: action and hidden fields. `tags` and `attributes` are
    the names in use. `refreshes` is True if the page reloads itself.
    """

    def __init__(self, html: str) -> None:
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
        """Record tags, attributes, links and forms."""
        attributes = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= set(attributes)
        self.refreshes |= attributes.get("http-equiv") == "refresh"
        if tag == "a":
            self._link = attributes.get("href")
        elif tag == "form" and attributes.get("method") == "post":
            self.forms.append((attributes["action"], {}))
        elif tag == "input" and self.forms and attributes.get("type") == "hidden":
            self.forms[-1][1][attributes["name"]] = attributes["value"]

    def handle_endtag(self, tag: str) -> None:
        """Separate the texts of block elements with a space, and end links."""
        if tag not in ("a", "bdi", "code"):
            self.text += " "
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        """Record the text, and a link's URL by its text."""
        self.text += data
        if self._link is not None:
            self.links[data.strip()] = self._link


class Browser:
    """A browser window with its own cookies. Not signed in before `sign_in`."""

    def __init__(self, url: str) -> None:
        """`url` is the admin port's base URL."""
        self.url = url
        self.session = requests.Session()

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        """Send a GET request. Redirects are not followed."""
        return self.session.get(self.url + path, allow_redirects=False, timeout=30, **kwargs)

    def page(self, path: str) -> Page:
        """Return a page. Fails unless the status is 200."""
        response = self.get(path)
        assert response.status_code == 200, (response.status_code, response.text)
        return Page(response.text)

    def send(self, path: str, fields: dict[str, str], **headers: str) -> requests.Response:
        """Submit form fields with an Origin header. `_` in the name of a header stands for `-`."""
        sent_headers = {"Origin": self.url, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.session.post(self.url + path, data=fields, headers=sent_headers, allow_redirects=False, timeout=30)

    def press(self, on: str, action: str, **fields: str) -> requests.Response:
        """Submit a form of the page `on` with this action: the one whose hidden fields match `fields` best."""
        forms = [hidden for form_action, hidden in self.page(on).forms if form_action == action]
        assert forms, f"{on} has no form with the action {action}"
        best_match: dict[str, str] = max(forms, key=lambda hidden: len(set(hidden.items()) & set(fields.items())))
        return self.send(action, {**best_match, **fields})

    def sign_in(self, key: str = OPERATOR_KEY, wanted: str = "") -> requests.Response:
        """Submit an API key with the sign-in form."""
        page = self.page(f"/operator/sign-in{f'?wanted={wanted}' if wanted else ''}")
        _, hidden = page.forms[0]
        return self.send("/operator/sign-in", {**hidden, "key": key})

    @property
    def token(self) -> str:
        """The form token of the session."""
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/operator/pending").text)
        assert found is not None
        return unescape(found[1])
