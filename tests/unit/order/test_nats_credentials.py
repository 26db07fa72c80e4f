"""Credentials files of NATS: the JWT and the seed that they hold, and what is wrong with a damaged one."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from order.publisher import credentials

# Made by NATS's own library: a seed and its public key.
SEED = "SUAEHYFYMBYMWQSYWEYT4XPN6V7OLHUWFKNE32XDKKG2B4QYJPGOGIEOUE"
PUBLIC = "UDKLOD6ZNET245N7ZP3KEISUNRF6WQZ3D4I3NKSTD7TLGVAQDU2PR5PL"
FILE = f"""-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QifQ.e30.c2ln
------END NATS USER JWT------

************************* IMPORTANT *************************
-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def test_a_file_has_the_jwt_and_the_key_that_belongs_to_its_seed() -> None:
    found = credentials.parse(FILE.replace("\n", "\r\n"))
    assert found.user_jwt() == b"eyJ0eXAiOiJKV1QifQ.e30.c2ln"
    public = found.key.public_key()
    assert credentials.encode(public.public_bytes_raw(), bytes([20 << 3])) == PUBLIC
    public.verify(base64.b64decode(found.sign("nonce")), b"nonce")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no user JWT"),
        (FILE.replace(SEED, ""), "no user JWT or no user seed"),
        (FILE.replace(SEED, SEED[:-1] + "A"), "damaged"),
        (FILE.replace(SEED, SEED[:20]), "damaged"),
        (FILE.replace(SEED, SEED[:9]), "not base32"),
        (FILE.replace(SEED, PUBLIC), "not that of a user"),
        (FILE.replace(SEED, credentials.encode(bytes(32), bytes([18 << 3, 0]))), "not that of a user"),
    ],
)
def test_what_is_wrong_is_said_without_the_seed(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as error:
        credentials.parse(text)
    assert SEED[:9] not in str(error.value)


def test_a_seed_that_is_encoded_is_decoded_to_the_same_key() -> None:
    key = Ed25519PrivateKey.generate().private_bytes_raw()
    assert credentials.decode(credentials.encode(key, credentials.USER_SEED), credentials.USER_SEED) == key
