"""Pages for people: the start page, and what each kind of problem means and what to do. They need no key."""

from __future__ import annotations

from flask import Blueprint, Response, render_template_string, request
from werkzeug.wrappers import Response as Answer

from chassis.http import greeting
from chassis.http.problems import Catalogue, Problem

_STYLE = """:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
h1 { line-height: 1.2 }
code { font-size: .9em }
td { padding: .2rem 1.2rem .2rem 0; vertical-align: top }
"""

_FRAME = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>TITLE</title>
<link rel="stylesheet" href="/problems.css">
"""

_PROBLEM = (
    _FRAME.replace("TITLE", "{{ kind.title }}")
    + """<h1>{{ kind.title }}</h1>
<p><code>{{ name }}</code>, HTTP status {{ kind.status }}</p>
<h2>Why it happens</h2>
<p>{{ kind.cause }}</p>
<h2>What to do</h2>
<p>{{ kind.cure }}</p>
{% if alike %}<h2>Other problems with this status</h2>
<ul>
{% for other in alike %}<li><a href="/problems/{{ other }}">{{ catalogue[other].title }}</a></li>
{% endfor %}</ul>
{% endif %}<p><a href="/problems">All problems</a></p>
</html>
"""
)

_LIST = (
    _FRAME.replace("TITLE", "Problems")
    + """<h1>Problems</h1>
<p>Every error of this service is <code>application/problem+json</code> (RFC 9457). Its <code>type</code> is the address
of one of these pages. Its <code>detail</code> says what was wrong with the request, <code>errors</code> points to the
invalid fields, and <code>request_id</code> identifies the request in the logs.</p>
<table>
{% for name, kind in catalogue.items() %}<tr><td>{{ kind.status }}</td>
<td><a href="/problems/{{ name }}">{{ kind.title }}</a></td><td><code>{{ name }}</code></td></tr>
{% endfor %}</table>
</html>
"""
)


def blueprint(title: str, about: str, catalogue: Catalogue) -> Blueprint:
    """Return the routes of the start page and of the pages for the kinds in a catalogue.

    `title` and `about` say on the start page what the service is.
    """
    pages = Blueprint("pages", __name__)

    @pages.after_request
    def for_browsers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = greeting.POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        if response.status_code == 200 and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "public, max-age=3600"
        return response

    @pages.get("/")
    def start() -> Answer:
        return greeting.response(title, about, greeting.API_LINKS, request.accept_mimetypes, "/problems.css")

    @pages.get("/problems")
    def problems() -> str:
        return render_template_string(_LIST, catalogue=catalogue)

    @pages.get("/problems/<name>")
    def problem(name: str) -> str:
        kind = catalogue.get(name)
        if kind is None:
            raise Problem("not-found", "There is no such kind of problem.")
        alike = [other for other in catalogue if other != name and catalogue[other].status == kind.status]
        return render_template_string(_PROBLEM, name=name, kind=kind, alike=alike, catalogue=catalogue)

    @pages.get("/problems.css")
    def style() -> Response:
        return Response(_STYLE, mimetype="text/css")

    return pages
