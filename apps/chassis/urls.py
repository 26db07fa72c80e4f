"""Whether a text is a URL that a client of HTTP can use."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# A name with any letters, an IPv4 address, or an IPv6 address in brackets. urlsplit has lowered it.
_HOST = re.compile(r"[\w.\-]{1,253}|\[[0-9a-f:.]+\]")


def is_http(text: str, *, base: bool = False) -> bool:
    """Return whether `text` is a URL of http or https, with a host, a valid port and no white space.

    With `base`, it has neither query nor fragment, so that a path can be added.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # an unclosed bracket, or a port that is not a number
        return False
    host = f"[{host}]" if ":" in host else host
    printable = text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or port == 0 or not printable or not _HOST.fullmatch(host):
        return False
    return is_name(host) and not (base and ("?" in text or "#" in text))


def is_name(host: str) -> bool:
    """Return whether each label of a host's name has 1 to 63 characters (RFC 1035). The name may end with a dot.

    Resolvers and TLS raise UnicodeError for other names.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
