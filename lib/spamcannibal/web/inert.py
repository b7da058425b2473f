"""Outside text made harmless to read: no control character, no change of direction, bounded. Pure.

HTML is not this module's matter: the templates escape everything. What a browser would still obey in escaped text is
the bidirectional controls, and what confuses a reader is invisible: these are shown as \\u202e and the like.
"""

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


def inert(text: str, limit: int = 1000) -> str:
    """Return one line of text, at most `limit` characters of the original."""
    shown = "".join(char if _is_plain(char) else _escaped(char) for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def inert_lines(text: str, limit: int = 20_000) -> str:
    """Return text with its line ends and tabs kept."""
    text = text.replace("\r\n", "\n")
    shown = "".join(char if char in "\n\t" or _is_plain(char) else _escaped(char) for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _is_plain(char: str) -> bool:
    return " " <= char <= "~" or unicodedata.category(char) not in _INVISIBLE


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
