"""Text of others, made fit to be shown. Pure."""

from __future__ import annotations

import unicodedata

# Cc: control characters; Cf: among them what reverses the direction of text; Cs: half characters;
# Zl, Zp: line ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return one line of text without what a terminal, log or page would obey.

    A tab becomes a space; each other character that is no mark on the screen becomes U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\t":
        return " "
    return "\ufffd" if unicodedata.category(character) in _HIDDEN else character
