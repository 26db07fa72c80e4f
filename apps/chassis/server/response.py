"""The response that gunicorn sends, with fewer headers."""

from __future__ import annotations

from gunicorn.http import wsgi


class Response(wsgi.Response):  # type: ignore[misc]
    """gunicorn's response without the Server header, which helps nobody but an attacker."""

    def default_headers(self) -> list[str]:
        """Return the lines of the response's head that gunicorn adds."""
        return [line for line in super().default_headers() if not line.startswith("Server: ")]
