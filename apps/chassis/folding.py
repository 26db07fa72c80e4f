r"""Folds a text into a few ASCII characters, so that numbers are found however they are written.

Each character becomes one character, so positions stay the same:

    a digit of any script, also full-width, circled or superscript   its ASCII digit
    a letter that NFKC maps to ASCII, also full-width                the lower-case letter
    white space, dashes, and `. _ / : , | \ ~ * ' and a backtick    " "
    other punctuation and symbols that are not ASCII                 " "
    an invisible character, such as a zero-width space               "\0"
    other ASCII characters                                           themselves
    private and unassigned characters                                " "
    everything else                                                  "?"

`unescaped` replaces characters that are escaped for a URL, JSON or HTML: `4539%205787`, `4539\u00205787`,
`4539&nbsp;5787`. It also replaces digits that are not visible, such as tags.
"""

from __future__ import annotations

import re
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
    if category[0] == "Z" or category in ("Cc", "Cn", "Co") or char in _DASHES:
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


# The digits that have no shape of their own: tags, and digits that stand above other characters. Folding takes them for
# invisible, so that they hide no number that they stand in. Unescaping takes them for digits.
_HIDDEN_DIGITS = {
    chr(zero + digit): digit for zero, last in ((0xE0030, 9), (0xA8E0, 9), (0x11366, 6)) for digit in range(last + 1)
}
_HIDDEN = re.compile(f"[{''.join(_HIDDEN_DIGITS)}]")

_BYTE = "%(?:25)*+"  # "%2520" is a space that is escaped twice
_FOLLOWING = f"{_BYTE}[89ab][0-9a-f]"
_ESCAPE = re.compile(
    rf"{_BYTE}(?:[0-7][0-9a-f]|[cd][0-9a-f]{_FOLLOWING}|e[0-9a-f](?:{_FOLLOWING}){{2}}|f[0-7](?:{_FOLLOWING}){{3}})"
    r"|(?<!\\)\\++(?:u[0-9a-f]{4}|x[0-9a-f]{2}|[nrt])"
    r"|&(?:amp;)*+(?:#x0*+[0-9a-f]{1,6};|#0*+[0-9]{1,7};|[a-z][a-z0-9]{1,31};|nbsp|shy)"
    rf"|{_HIDDEN.pattern}",
    re.IGNORECASE,
)
_LAST_HEX = re.compile(r"[0-9a-f]{2}(?=%|$)", re.IGNORECASE)


def has_escapes(text: str) -> bool:
    """Return whether `unescaped` may change the text. This is fast."""
    if "%" in text or "\\" in text or "&" in text:
        return True
    return not text.isascii() and _HIDDEN.search(text) is not None


def unescaped(text: str) -> str:
    """Return the text with each escaped character in place of its escape. The length stays the same.

    The character is filled up with zero-width spaces, or repeated if it separates digits.
    """
    return _ESCAPE.sub(_unescape, text)


def _unescape(found: re.Match[str]) -> str:
    escape = found.group()
    char = _char(escape)
    if _FOLDS[ord(char)] == " ":
        return char * len(escape)
    return "\u200b" * (len(escape) - 1) + char


def _char(escape: str) -> str:
    if escape[0] == "%":
        return bytes.fromhex("".join(_LAST_HEX.findall(escape))).decode(errors="replace")[0]
    if escape[0] == "&":
        name = escape[1:-1].rpartition(";")[2]
        if name[0] != "#":
            return " "  # such as nbsp, ndash
        code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
        return chr(code) if code <= 0x10FFFF else "?"
    if escape in _HIDDEN_DIGITS:
        return chr(0xFF10 + _HIDDEN_DIGITS[escape])  # full-width
    kind = escape.lstrip("\\")
    return chr(int(kind[1:], 16)) if kind[0] in "uUxX" else " "
