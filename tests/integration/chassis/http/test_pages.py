"""The pages that describe each problem, which can be read without a key."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from chassis.http import problems
from tests.support.pair import Client
from tests.support.problems import refused

APPS = Path(problems.__file__).parent.parent


def test_every_problem_has_a_page_that_says_what_to_do(stranger: Client) -> None:
    for name, kind in problems.CATALOGUE.items():
        page = stranger.get(f"/problems/{name}")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        text = html.unescape(page.text)
        assert f"<h1>{kind.title}</h1>" in text
        assert kind.cure in text
        assert kind.cause in text
        assert f"HTTP status {kind.status}" in text


def test_every_link_of_a_page_leads_somewhere_and_all_pages_are_listed(stranger: Client) -> None:
    seen, follow = set(), {"/problems"}
    while follow:
        path = follow.pop()
        seen.add(path)
        page = stranger.get(path)
        assert page.status_code == 200, path
        follow |= set(re.findall(r'href="([^"]+)"', page.text)) - seen
    assert seen == {"/problems", "/problems.css", *(f"/problems/{name}" for name in problems.CATALOGUE)}


@pytest.mark.parametrize("path", ["/problems", "/problems/validation"])
def test_nothing_runs_on_a_page_and_nothing_comes_from_elsewhere(stranger: Client, path: str) -> None:
    page = stranger.get(path)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|style=|<script|\son\w+=|//", page.text.replace("</", ""))
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert stranger.get("/problems.css").headers["Content-Type"].startswith("text/css")


@pytest.mark.parametrize("name", ["nonsense", "Validation", "%3Cscript%3E"])
def test_a_problem_that_is_none_has_no_page(stranger: Client, name: str) -> None:
    refused(stranger.get(f"/problems/{name}"), 404, "not-found")


def test_every_problem_that_the_code_names_is_in_the_catalogue() -> None:
    sources = [path.read_text() for path in APPS.rglob("*.py")]
    raised = {name for text in sources for name in re.findall(r'(?:Problem|_at)\(\s*"([a-z-]+)"', text)}
    typed = {name for text in sources for name in re.findall(r'"/problems/([a-z-]+)"', text)}
    assert len(raised) > 10
    assert raised | typed <= set(problems.CATALOGUE)


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_is_some_problem(status: int) -> None:
    assert problems.name_for(status) in problems.CATALOGUE
