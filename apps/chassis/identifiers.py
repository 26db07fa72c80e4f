"""Identifiers of known formats, in which digits of a card number occur by chance: they are not searched for cards.

One in 600 random ids of 32 hexadecimal characters holds a card number, and one in 20 IBANs that are written in groups.
"""

from __future__ import annotations

import re

from chassis.issuers import TEST_NUMBERS

_UUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_RANDOM = re.compile(
    rf"{_UUID.pattern}"
    r"|(?<![0-9A-Za-z])(?=[0-9]{0,127}+[a-fA-F])"  # hashes and ids: hexadecimal, with letters, of a usual length
    r"(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{96}|[0-9a-fA-F]{64}|[0-9a-fA-F]{56}|[0-9a-fA-F]{48}|[0-9a-fA-F]{40}"
    r"|[0-9a-fA-F]{32}|[0-9a-fA-F]{24})(?![0-9A-Za-z])"
)
# In groups only: 18 characters together could be two letters and a card number, and one in 97 of those passes.
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: [0-9A-Z]{4}){2,7}+(?: [0-9A-Z]{1,3})?(?![0-9A-Za-z])")
_TEST_NUMBER = re.compile("|".join(sorted(TEST_NUMBERS)))


def hidden(text: str) -> str:
    """Return the text with "x" for each character of an identifier. The length stays the same.

    An identifier that contains a published test number is not hidden: that number is not there by chance.
    """
    return _IBAN.sub(_without_iban, _RANDOM.sub(_without_id, text))


def without_uuids(text: str) -> str:
    """Return the text with "x" for each character of the UUIDs that `hidden` hides.

    JSON text can be searched too: only a string holds a UUID there. A number with an exponent can look like a hash, so
    hashes are not replaced.
    """
    return _UUID.sub(_without_id, text)


def _without_id(found: re.Match[str]) -> str:
    value = found.group()
    # Without a letter it is a UUID only if version and variant are (RFC 9562): 45395787-6362-1486-0000-000000000000
    # is a card number that is filled with zeros.
    is_id = "-" not in value or not value.replace("-", "").isdigit() or (value[14] in "12345678" and value[19] in "89")
    return _replaced(value, is_id)


def _without_iban(found: re.Match[str]) -> str:
    value = found.group().replace(" ", "")
    number = "".join(str(int(char, 36)) for char in value[4:] + value[:4])
    return _replaced(found.group(), int(number) % 97 == 1)  # ISO 13616


def _replaced(value: str, is_id: bool) -> str:
    if is_id and not _TEST_NUMBER.search(value.replace("-", "").replace(" ", "")):
        return "x" * len(value)
    return value
