"""The certificate authorities that are trusted for connections to hosts outside: the public ones, and TRUSTED_CA's."""

from __future__ import annotations

import functools
import ssl
import tempfile
from pathlib import Path

import certifi
from environs import FileAwareEnv


def bundle() -> str:
    """Return the path of a file with all trusted authorities. Raises ValueError if TRUSTED_CA has no certificates."""
    text = _own()
    return _combined(text) if text else certifi.where()


def verify() -> str | bool:
    """Return the argument `verify` of requests. Without TRUSTED_CA it is True, so that REQUESTS_CA_BUNDLE applies."""
    text = _own()
    return _combined(text) if text else True


def _own() -> str:
    """Return TRUSTED_CA, or the content of the file that TRUSTED_CA_FILE names: certificates in PEM form."""
    try:
        text: str = FileAwareEnv(strip_whitespace=True).str("TRUSTED_CA", "")
    except (OSError, ValueError) as error:
        raise ValueError("TRUSTED_CA_FILE: must be the path of a readable text file") from error
    return text


@functools.cache
def _combined(text: str) -> str:
    """Write the public authorities and those of `text` into one file, because HTTP libraries take a path."""
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, TypeError) as error:  # TypeError for a text that is not ASCII
        raise ValueError("TRUSTED_CA (or TRUSTED_CA_FILE): must be certificates in PEM form") from error
    with tempfile.NamedTemporaryFile("w", prefix="authorities-", suffix=".pem", delete=False) as file:
        file.write(f"{Path(certifi.where()).read_text()}\n{text}\n")
    return file.name
