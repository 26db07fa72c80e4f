"""Access control of the operator's page: sessions, protection of forms against CSRF, and security headers.

Every page needs a session, except the sign-in form and the static files. A form is accepted only with the session
cookie, the form token of that session, and an Origin that is this host. A page of another site has none of these.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import uuid_utils
from flask import Flask, Response, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from order.operator.sessions import LIFETIME, Operator, Sessions, form_token, is_form_token, is_proof, new_token, proof

COOKIE = "tandem_operator"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
# With all characters of a query that a browser makes of a form: a space is "+" (WHATWG URL, section 5.2).
_PATH = re.compile(r"/[A-Za-z0-9/_.~%?&=:+*-]{0,4094}")

_WITHOUT_SESSION = frozenset({"static", "sign_in", "submit_key"})
_WITHOUT_WRITE_SCOPE = frozenset({"submit_key", "sign_out"})

CHANGE_ORDER = "change_order"
"""The view of actions that change orders, for which an operator needs the scope `operator:orders`."""
SEND_AGAIN = "send_again"
"""The view of actions that send something again, for which an operator needs the scope `operator:write`."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer`, browsers would send `Origin: null` with forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def register(app: Flask, path: str, sessions: Sessions) -> None:
    """Protect all views of the application, which are below `path`.

    Sets `g.token`, `g.fresh` (whether the token is new), `g.operator` (None without a session) and `g.request_id`.
    """

    @app.before_request
    def check_access() -> AnyResponse | None:
        g.operator = None
        g.request_id = str(uuid_utils.uuid7())
        cookie = request.cookies.get(COOKIE, "")
        # The sign-in form needs a form token, too, so there is a token before anybody signs in.
        g.token = cookie if _TOKEN.fullmatch(cookie) else new_token()
        g.fresh = g.token != cookie
        # Flask answers OPTIONS itself, with the methods of the path.
        if request.endpoint is None or request.endpoint == "static" or request.method == "OPTIONS":
            return None
        if request.method not in ("GET", "HEAD"):
            _check_form()
        g.operator = None if g.fresh else sessions.find(g.token)
        if g.operator is None:
            return None if request.endpoint in _WITHOUT_SESSION else _to_sign_in()
        _check_scope(g.operator)
        return None

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        if g.get("fresh") and request.endpoint in _WITHOUT_SESSION - {"static"}:
            set_cookie(response, g.token, path)
        return response

    @app.context_processor
    def template_variables() -> dict[str, Any]:
        operator: Operator | None = g.get("operator")
        return {"operator": operator, "form_token": form_token(g.token) if "token" in g else ""}


def set_cookie(response: Response, token: str, path: str) -> None:
    """Store a session token in the browser: for `path` only, not sent by other sites, not readable by scripts."""
    response.set_cookie(
        COOKIE, token, max_age=LIFETIME, path=path, secure=request.is_secure, httponly=True, samesite="Strict"
    )


def redirect_target(wanted: str, path: str) -> str:
    """Return `wanted` if it is a page below `path`, otherwise `path`. Prevents redirects to other sites."""
    # Browsers read %2e as a dot (WHATWG URL, section 4.1).
    plain = _PATH.fullmatch(wanted) is not None and ".." not in unquote(wanted.partition("?")[0])
    return wanted if plain and (wanted == path or wanted.startswith((f"{path}/", f"{path}?"))) else path


def redirect_with(url: str, message: str) -> AnyResponse:
    """Redirect to a page of the operator's, which then shows a message (see `message`)."""
    said = f"{'&' if '?' in url else '?'}proof={proof(g.token, message, urlsplit(url).path)}&done={message}"
    return redirect(url + said, 303)


def message() -> str | None:
    """Return the name of the message that this session was redirected with. A link that others made has none."""
    said = request.args.get("done", "")
    return said if is_proof(g.get("token", ""), said, request.path, request.args.get("proof", "")) else None


def _to_sign_in() -> AnyResponse:
    wanted = request.full_path.rstrip("?") if request.method in ("GET", "HEAD") else None
    return redirect(url_for("sign_in", wanted=wanted if wanted != url_for("overview") else None), 303)


def _check_scope(operator: Operator) -> None:
    """Raise Forbidden if the API key of the operator lacks the scope that the view needs."""
    if request.endpoint == CHANGE_ORDER:
        if not operator.may_change_orders:
            raise Forbidden("The API key of this session lacks the scope operator:orders.")
        return
    acts = request.method not in ("GET", "HEAD") and request.endpoint not in _WITHOUT_WRITE_SCOPE
    if (acts or request.endpoint == SEND_AGAIN) and not operator.may_act:
        raise Forbidden("The API key of this session lacks the scope operator:write.")


def _check_form() -> None:
    # Compared as text, so there is nothing in it to parse. A page without TLS cannot send a form to one with TLS.
    schemes = ("https",) if request.is_secure else ("https", "http")
    if request.headers.get("Origin", "").lower() not in [f"{scheme}://{request.host.lower()}" for scheme in schemes]:
        raise Forbidden("The form was not sent from a page of this site.")
    if g.fresh or not is_form_token(g.token, request.form.get("token", "")):
        raise Forbidden("The form does not belong to your session. Go back, reload the page and try again.")
