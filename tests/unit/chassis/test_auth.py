from __future__ import annotations

import hashlib
import json

import pytest

from chassis.auth import Key, Keyring

SECRET = "tdm_never_to_be_seen"


def entry(**changes: object) -> str:
    return json.dumps([{"key": SECRET, "merchant": "demo", "scopes": ["orders:read"], **changes}])


def test_a_key_is_found_by_itself_or_by_its_digest() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    by_digest = json.dumps([{"sha256": digest, "merchant": "demo", "scopes": ["orders:read"]}])
    for text in (entry(), by_digest):
        keyring = Keyring.parse(text)
        assert keyring.find(SECRET) == Key("demo", frozenset({"orders:read"}))
        assert keyring.find(SECRET + "x") is None
        assert keyring.find("") is None
        assert keyring.find(digest) is None


@pytest.mark.parametrize(
    "text",
    [
        f"[{SECRET}",
        f'"{SECRET}"',
        json.dumps({"key": SECRET}),
        json.dumps([SECRET]),
        json.dumps([[SECRET]]),
        json.dumps([{"key": SECRET}]),
        entry(merchant=""),
        entry(merchant=None),
        entry(merchant="a b"),
        entry(merchant="a\n"),
        entry(merchant="m" * 65),
        entry(merchant="é"),
        entry(sha256="0" * 64),
        entry(scopes=["orders:read", "orders:all"]),
        entry(scopes="orders:read"),
        json.dumps([{"merchant": "demo", "scopes": []}]),
        "null",
        "",
    ],
)
def test_wrong_settings_are_refused_and_no_key_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="must|is not|has|entry") as caught:
        Keyring.parse(text)
    assert SECRET not in str(caught.value)


def test_what_is_wrong_is_named_by_its_number() -> None:
    good = json.loads(entry())[0]
    with pytest.raises(ValueError, match="entry 1"):
        Keyring.parse(json.dumps([good, {**good, "scopes": ["nonsense"]}]))


def test_no_keys_are_a_keyring_that_knows_nobody() -> None:
    assert Keyring.parse("[]").find(SECRET) is None
