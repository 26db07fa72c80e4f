"""What a port answers to `GET /`: what it is, and links to its pages. It needs no key."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from werkzeug.datastructures import MIMEAccept
from werkzeug.wrappers import Response

from chassis.http.answers import to_json

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of a page that runs no scripts and loads nothing from other origins."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}

_PROBES = {
    "/livez": "Liveness: whether the process runs",
    "/readyz": "Readiness: whether requests can be served",
}

API_LINKS = {
    "/docs": "The API, as a page that can send requests",
    "/openapi.json": "The same as an OpenAPI document",
    "/webhooks.json": "What is sent to webhook endpoints, as an OpenAPI document",
    "/problems": "What each error means, and what to do",
    **_PROBES,
}

PROBE_LINKS = {"/metrics": "Metrics for Prometheus", **_PROBES}


def response(
    title: str, about: str, links: Mapping[str, str], accepted: MIMEAccept, stylesheet: str | None = None
) -> Response:
    """Return a page if the client prefers HTML to JSON, as browsers do, else a JSON object with the same links.

    `links` maps paths of this port to what they lead to.
    """
    # Without an Accept header, and if both are equally good, it is JSON.
    if accepted["text/html"] > accepted["application/json"]:
        return Response(_page(title, about, links, stylesheet), headers=HEADERS, mimetype="text/html")
    body = {"title": title, "about": about, "links": links}
    return Response(to_json(body), headers=HEADERS, mimetype="application/json")


def _page(title: str, about: str, links: Mapping[str, str], stylesheet: str | None) -> str:
    style = f'<link rel="stylesheet" href="{stylesheet}">\n' if stylesheet else ""
    items = "".join(f'<li><a href="{path}">{path}</a> {escape(text)}</li>\n' for path, text in links.items())
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n{style}<main>\n<h1>{escape(title)}</h1>\n<p>{escape(about)}</p>\n"
        f"<ul>\n{items}</ul>\n</main>\n</html>\n"
    )
