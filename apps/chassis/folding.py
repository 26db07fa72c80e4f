r"""Folds a text into a few ASCII characters, so that numbers are found however they are written.

Each character becomes one character, so positions stay the same:

    a digit of any script, also full-width, circled or superscript   its ASCII digit
    a letter that NFKC maps to ASCII, also full-width                the lower-case letter
    white space, dashes, and `. _ / : , | \ ~ * ' and a backtick    " "
    other punctuation and symbols that are not ASCII                 " "
    an invisible character, such as a zero-width space               "\0"
    other ASCII characters                                           themselves
    everything else                                                  "?"
"""

from __future__ import annotations

import unicodedata

_SEPARATORS = " -._/:,|\\~*'`"
_BLANK = "\u115f\u1160\u3164\uffa0\u2800\u180e"  # letters and symbols without a visible shape
_DASHES = "\u30fc\uff70\u2500\u2501\u1173"  # letters and box drawings that look like a dash
_MAX_KNOWN = 4096


class _Folds(dict[int, str]):
    """The folded form of each code point, computed when it first occurs."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        if len(self) < _MAX_KNOWN:  # a text in all characters of Unicode must not fill the memory
            self[code] = folded
        return folded


def _fold(char: str) -> str:
    if char.isascii():
        if char in _SEPARATORS or not char.isprintable():
            return " "
        return char.lower()
    category = unicodedata.category(char)
    if category in ("Cf", "Mn", "Me", "Cs") or char in _BLANK:
        return "\0"
    if category[0] == "Z" or category == "Cc" or char in _DASHES:
        return " "
    plain = unicodedata.normalize("NFKC", char)
    if len(plain) == 1 and plain.isascii():
        return _fold(plain)
    value = unicodedata.numeric(char, -1.0)
    if value in _DIGITS and (category in ("Nd", "No") or plain == char):
        return str(int(value))
    return " " if category[0] in "PS" else "?"


_DIGITS = frozenset(map(float, range(10)))
_FOLDS = _Folds({code: _fold(chr(code)) for code in range(128)})


def fold(text: str) -> str:
    """Return the folded text. It has the same length."""
    return text.translate(_FOLDS)
