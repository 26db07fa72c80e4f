"""NATS credentials files: the JWT of a user, and the seed that signs what the server asks (Ed25519).

The library nats-py needs nkeys for this, of which there are no wheels. The format is that of NATS's nkeys: base32 of a
prefix of two bytes, 32 bytes, and their CRC-16 (XMODEM, the low byte first).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

USER_SEED = bytes([18 << 3 | 20 << 3 >> 5, (20 << 3 & 31) << 3])
"""The prefix of a user's seed, which makes it begin with `SU`."""

_JWT = re.compile(r"BEGIN NATS USER JWT-+\s+([\w.-]+)\s+-+END")
_SEED = re.compile(r"BEGIN USER NKEY SEED-+\s+([A-Z2-7]+)\s+-+END")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user shows and proves to the server."""

    jwt: str
    key: Ed25519PrivateKey

    def user_jwt(self) -> bytearray:
        """Return the JWT, as the client library asks for it."""
        return bytearray(self.jwt.encode())

    def sign(self, nonce: str) -> bytes:
        """Return the signature of what the server asks, in base64."""
        return base64.b64encode(self.key.sign(nonce.encode()))


def parse(text: str) -> Credentials:
    """Return the credentials in the text of a credentials file. Raises ValueError, without the text."""
    # Imported here: it takes memory and time at the start, and most installations need it nowhere.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        raise ValueError("the credentials have no user JWT or no user seed")
    return Credentials(jwt[1], Ed25519PrivateKey.from_private_bytes(decode(seed[1], USER_SEED)))


def decode(text: str, prefix: bytes) -> bytes:
    """Return the 32 bytes in an encoded key with this prefix. Raises ValueError."""
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error as error:
        raise ValueError("the seed is not base32") from error
    body, checksum = data[:-2], data[-2:]
    if len(body) != len(prefix) + 32 or body[: len(prefix)] != prefix or checksum != _checksum(body):
        raise ValueError("the seed is damaged, or is not that of a user")
    return body[len(prefix) :]


def encode(key: bytes, prefix: bytes) -> str:
    """Return 32 bytes as an encoded key."""
    body = prefix + key
    return base64.b32encode(body + _checksum(body)).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(2, "little")
