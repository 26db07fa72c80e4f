"""The format of keys. How they are used is tested in tests/integration/chassis/auth/test_own_keys.py."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from chassis.auth import keyring, stored_keys
from chassis.auth.keyring import Key, Keyring
from chassis.auth.stored_keys import Keys
from chassis.postgres.database import Database
from ci import ROOT
from ci.laptop.state import State

NOWHERE = Database("postgresql://nobody@127.0.0.1:1/nothing", "test")


def test_generated_keys_are_unique_long_and_well_formed() -> None:
    made = {stored_keys.generate() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert key.startswith("tandem_")
        assert len(key) == 53
        assert stored_keys.is_well_formed(key)


def test_no_key_with_one_character_changed_is_well_formed() -> None:
    key = stored_keys.generate()
    for place in range(len(key)):
        other = "x" if key[place] != "x" else "y"
        assert not stored_keys.is_well_formed(key[:place] + other + key[place + 1 :])


def test_keys_of_earlier_releases_stay_well_formed() -> None:
    """Their checksum is the CRC-32 of the 40 characters, in base 62."""
    assert stored_keys.is_well_formed("tandem_" + "0123456789" * 4 + "32mxo1")


def test_every_part_of_the_product_makes_keys_of_this_format(tmp_path: Path) -> None:
    laptop = {name: key for name, key in State(tmp_path).keys().items() if name.endswith("API_KEY")}
    overlay = runpy.run_path(str(ROOT / "k8s" / "overlays" / "dev" / "make_secrets.py"))["new_secrets"]()
    credentials = overlay["tandem-credentials"]
    made = [*laptop.values(), credentials["api-key"], credentials["payment-api-key"]]
    assert len(set(made)) == 7
    assert all(stored_keys.is_well_formed(key) for key in made)
    assert [entry["key"] for entry in json.loads(credentials["api-keys"])] == made[-2:]


def test_the_documented_pattern_finds_keys_in_text() -> None:
    (pattern,) = re.findall(r"^    (\\b\S+)$", (ROOT / "docs" / "auth.md").read_text(), re.MULTILINE)
    key = stored_keys.generate()
    assert re.findall(pattern, f'{{"Authorization": "Bearer {key}", "other": "{key}x"}}\nKEY={key}') == [key, key]


@pytest.mark.parametrize("text", ["", "tandem_", "tdm_test", "tandem_" + "0" * 46, "é" * 53, "a.b.c", "\udcff" * 53])
def test_a_malformed_key_is_unknown_without_a_query(text: str) -> None:
    assert Keys(NOWHERE, 5.0).find(text) is None
    assert not stored_keys.is_well_formed(text)
    assert not stored_keys.is_well_formed(stored_keys.generate() + text + "\n")


class Watched(str):
    """A secret that notices when it is compared with another string."""

    compared = False
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        type(self).compared = True
        return super().__eq__(other)


def test_a_secret_is_looked_up_by_its_digest_and_never_compared() -> None:
    secret = stored_keys.generate()
    known = Keyring({keyring.digest(secret): Key("demo", frozenset())})
    assert known.find(Watched(secret)) == Key("demo", frozenset())
    assert known.find(Watched(secret[:-1] + "!")) is None
    assert not Watched.compared
    assert secret not in known._keys
