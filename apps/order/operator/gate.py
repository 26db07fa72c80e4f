"""Who may see the operator's page, and from where its forms may come.

All is behind a session but the sign-in form and the style sheet. A form counts only with the cookie that its page was
made for, the token that belongs to that cookie, and an Origin that is this very host: a page of another site has none
of the three.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from order.operator.sessions import SECONDS, Operator, Sessions, form_token, is_form_token, new_token

COOKIE = "tandem_operator"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

_OPEN = frozenset({"static", "sign_in", "present_key"})
_HARMLESS = frozenset({"present_key", "sign_out"})

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with that a browser's forms say `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def register(app: Flask, path: str, sessions: Sessions) -> None:
    """Guard all views of the application, which are at `path` and below it."""

    @app.before_request
    def admit() -> AnyResponse | None:
        g.operator = None
        cookie = request.cookies.get(COOKIE, "")
        # A form has to have a token to belong to before anybody is signed in, too.
        g.token = cookie if _TOKEN.fullmatch(cookie) else new_token()
        g.fresh = g.token != cookie
        if request.endpoint is None or request.endpoint == "static":
            return None
        if request.method not in ("GET", "HEAD"):
            _check_form()
        g.operator = None if g.fresh else sessions.find(g.token)
        if g.operator is None:
            return None if request.endpoint in _OPEN else _to_sign_in()
        if request.method not in ("GET", "HEAD") and request.endpoint not in _HARMLESS and not g.operator.may_act:
            raise Forbidden("The key that you have signed in with lacks the scope operator:write.")
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(HEADERS)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        if g.get("fresh") and request.endpoint in _OPEN - {"static"}:
            keep(response, g.token, path)
        return response

    @app.context_processor
    def shown() -> dict[str, Any]:
        operator: Operator | None = g.get("operator")
        return {"operator": operator, "form_token": form_token(g.token) if "token" in g else ""}


def keep(response: Response, token: str, path: str) -> None:
    """Have the browser keep a session's token: for this path, this site's own pages, and no script."""
    response.set_cookie(
        COOKIE, token, max_age=SECONDS, path=path, secure=request.is_secure, httponly=True, samesite="Strict"
    )


def destination(wanted: str, path: str) -> str:
    """Where to go after signing in: a page of ours that was wanted, or the first one."""
    plain = re.fullmatch(r"/[A-Za-z0-9/_.~%?&=:-]*", wanted) is not None and ".." not in wanted
    return wanted if plain and (wanted == path or wanted.startswith((f"{path}/", f"{path}?"))) else path


def _to_sign_in() -> AnyResponse:
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("sign_in", wanted=wanted if wanted != url_for("overview") else None), 303)


def _check_form() -> None:
    origin = request.headers.get("Origin", "")
    if urlsplit(origin).netloc != request.host or not origin:
        raise Forbidden("The form was not sent from a page of this site.")
    if g.fresh or not is_form_token(g.token, request.form.get("token", "")):
        raise Forbidden("The form is older than your session: go back, load its page again, and repeat.")
