"""An issuer of access tokens. It can rotate its keys, and its JWKS, on a real port, can fail."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.listening import listening

NAME, AUDIENCE = "https://issuer.example", "tandem"


class Issuer:
    """Signs with ES256. `fetches` counts requests for the JWKS; `status` and `body` are the response to them.

    While `answering` is not set, requests hang.
    """

    def __init__(self) -> None:
        self.fetches, self.status, self.body = 0, 200, b""
        self.answering = threading.Event()
        self.answering.set()
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                issuer.answering.wait(10)
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("Location", issuer.url)
                self.send_header("Content-Length", str(len(issuer.body)))
                self.end_headers()
                self.wfile.write(issuer.body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Log nothing."""

        self._running = ExitStack()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jwks"
        self.publish("k1")

    def publish(self, *kids: str) -> None:
        """Publish keys with exactly these ids. Existing keys stay the same."""
        self._keys = {kid: self._keys.get(kid) or ec.generate_private_key(ec.SECP256R1()) for kid in kids}
        es256 = jwt.get_algorithm_by_name("ES256")
        public = [{**json.loads(es256.to_jwk(key.public_key())), "kid": kid} for kid, key in self._keys.items()]
        self.body = json.dumps({"keys": public}).encode()

    def token(self, kid: str = "k1", **changes: Any) -> str:
        """Return a token that is valid except for `changes` to its claims."""
        now = int(time.time())
        claims = {"iss": NAME, "aud": AUDIENCE, "exp": now + 300, "iat": now, "merchant": "demo", **changes}
        return jwt.encode(claims, self._keys[kid], "ES256", {"kid": kid, "typ": "at+jwt"})

    def settings(self) -> dict[str, str]:
        """Return the settings of a service that accepts the issuer's tokens."""
        return {"JWT_ISSUER": NAME, "JWT_AUDIENCE": AUDIENCE, "JWT_JWKS_URL": self.url}

    def __enter__(self) -> Self:
        self._running.enter_context(listening(self._server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        self._running.close()
