"""The text of a listing that rests on hearsay, by the original's rule and with some care: strangers wrote part of it.

A reason that holds a link says all: it is the text. Otherwise the text is "REASON, ERROR", where ERROR is ours, and
gets the address appended if it ends in "?" or "?NAME=", as a link of ours to look-ups does.
"""

import re

from spamcannibal.addr import format_addr

TEXT_LIMIT = 400  # characters

_LINK = re.compile(r"https?://\[|(?:https?://|\bwww\.)[^\s./]+\.[^\s.]", re.IGNORECASE)
_ASKS = re.compile(r"\?(?:\S*=)?\Z")


def entry_text(reason: str, error: str, addr: bytes) -> str:
    """Return the text of a listing, at most TEXT_LIMIT characters on one line."""
    reason = tidy(reason)
    if _LINK.search(reason):
        return reason
    if _ASKS.search(error):
        error += format_addr(addr)
    return tidy(", ".join(part for part in (reason, error) if part))


def tidy(text: str) -> str:
    """Return outside text on one line, cut, without what does not print."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * TEXT_LIMIT]).split())
    return line if len(line) <= TEXT_LIMIT else line[: TEXT_LIMIT - 1] + "…"
