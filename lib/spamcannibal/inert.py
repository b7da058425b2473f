"""Outside text made harmless to read: no control character, no change of direction, bounded. Pure.

HTML is not this module's matter: the templates escape everything. What a browser would still obey in escaped text is
the bidirectional controls, and what confuses a reader is invisible: these are shown as \\u202e and the like.
"""

_LINE_ENDS = {ord("\n"): None, ord("\t"): None}


def inert(text: str, limit: int = 1000) -> str:
    """Return one line of text, at most `limit` characters of the original."""
    cut = text[:limit]
    shown = cut if cut.isprintable() else "".join(map(_shown, cut))
    return shown + "…" if len(text) > limit else shown


def inert_lines(text: str, limit: int = 20_000) -> str:
    """Return text with its line ends and tabs kept."""
    text = text.replace("\r\n", "\n")
    cut = text[:limit]
    if not cut.translate(_LINE_ENDS).isprintable():
        cut = "".join(char if char in "\n\t" else _shown(char) for char in cut)
    return cut + "…" if len(text) > limit else cut


def _shown(char: str) -> str:
    """Return a character, or its number where it is a control, unassigned, or a separator that is not the space."""
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
