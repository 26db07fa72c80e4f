from __future__ import annotations

import hashlib
import json

import pytest

from chassis.auth.keyring import Key, Keyring

SCOPES = frozenset({"orders:read", "orders:write", "merchants:any"})
SECRET = "tdm_never_to_be_seen"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


def entry(**changes: object) -> str:
    return json.dumps([{"key": SECRET, "merchant": "demo", "scopes": ["orders:read"], **changes}])


def test_a_setting_names_a_key_by_its_text_or_by_its_digest() -> None:
    by_digest = [
        json.dumps([{"sha256": digest, "merchant": "demo", "scopes": ["orders:read"]}])
        for digest in (DIGEST, DIGEST.upper())
    ]
    for text in (entry(), *by_digest):
        keyring = Keyring.parse(text, SCOPES)
        assert keyring.find(SECRET) == Key("demo", frozenset({"orders:read"}))
        assert keyring.find(SECRET + "x") is None
        assert keyring.find("") is None
        assert keyring.find(DIGEST) is None


NO_KEYS: list[object] = [1, None, True, [SECRET], {SECRET: 1}, "", "short", "x" * 256, "two words", "é" * 9]
NO_MERCHANTS: list[object] = [1, True, ["demo"], {}]
NO_SCOPES: list[object] = [None, 1, {"orders:read": True}, [["orders:read"]], [None], [{}], "", ["orders"], ["a:b:c"]]


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
        json.dumps([{"sha256": SECRET, "merchant": "demo", "scopes": []}]),
        json.dumps([{"sha256": "0" * 63, "merchant": "demo", "scopes": []}]),
        json.dumps([{"sha256": 1, "merchant": "demo", "scopes": []}]),
        json.dumps([{"sha256": None, "key": SECRET, "merchant": "demo", "scopes": []}]),
        *(entry(key=value) for value in NO_KEYS),
        *(entry(merchant=value) for value in NO_MERCHANTS),
        *(entry(scopes=value) for value in NO_SCOPES),
        json.dumps([json.loads(entry())[0]] * 2),
        json.dumps([*json.loads(entry()), {"sha256": DIGEST.upper(), "merchant": "other", "scopes": []}]),
        "[" * 100_000,
        "null",
        "",
    ],
)
def test_malformed_settings_are_rejected_without_quoting_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="must|is not|has|entry") as caught:
        Keyring.parse(text, SCOPES)
    assert SECRET not in str(caught.value)


def test_an_error_names_the_entry_by_its_number() -> None:
    good = json.loads(entry())[0]
    with pytest.raises(ValueError, match="entry 1"):
        Keyring.parse(json.dumps([good, {**good, "scopes": ["nonsense"]}]), SCOPES)


def test_an_empty_list_has_no_keys() -> None:
    assert Keyring.parse("[]", SCOPES).find(SECRET) is None


def test_a_key_may_have_scopes_of_another_service_that_reads_the_same_list() -> None:
    scopes = ["orders:read", "payments:read"]
    found = Keyring.parse(entry(scopes=scopes), SCOPES).find(SECRET)
    assert found == Key("demo", frozenset(scopes))


def test_a_misspelled_scope_of_this_service_is_refused_and_the_right_ones_are_listed() -> None:
    with pytest.raises(ValueError, match=r"merchants:any, orders:read, orders:write, or scopes of other services"):
        Keyring.parse(entry(scopes=["orders:reed"]), SCOPES)
