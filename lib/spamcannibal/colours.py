"""Colours of what mail servers report (gather), and which entries a kind of zone shows. Pure.

| colour | code | means | flags beside PUBLISHED | packet path and plain zones |
|---|---|---|---|---|
| black | 127.0.0.2 | sends spam | | listed |
| white | 127.0.0.1 | sends none | EXCLUDED | never listed, in a listed network neither |
| yellow | 127.0.0.3 | sends both; other lists should be ignored | EXCLUDED | as white |
| brown | 127.0.0.4 | sends spam, not yet enough for black | SHADOW | not looked at |
| nobl | 127.0.0.5 | sends not only spam; don't list it | EXCLUDED | as white |

So an entry's answer code and flags are its colour, the store needs no field for it, and nothing but black reaches a
plain zone or the tarpit: their rules for EXCLUDED and SHADOW were there before. Its source is `gather:REPORTER`, or
`peer:SITE` for what needs another site's word: that is not PUBLISHED, and its black has the code of hearsay. Codes are
those of Hostkarma, which made the scheme known.

Many clients take any answer for "listed", so each colour has a zone of its own, COLOUR.ZONE; black's is the plain zone
under another name.
"""

from typing import NamedTuple

from spamcannibal.record import (
    EXCLUDED,
    HEARSAY_CODE,
    PROVEN_CODE,
    PUBLISHED,
    SHADOW,
    split_table_value,
    table_value,
)


class Colour(NamedTuple):
    code: bytes
    flags: int


COLOURS = {
    "black": Colour(bytes((127, 0, 0, 2)), PUBLISHED),
    "white": Colour(bytes((127, 0, 0, 1)), PUBLISHED | EXCLUDED),
    "yellow": Colour(bytes((127, 0, 0, 3)), PUBLISHED | EXCLUDED),
    "brown": Colour(bytes((127, 0, 0, 4)), PUBLISHED | SHADOW),
    "nobl": Colour(bytes((127, 0, 0, 5)), PUBLISHED | EXCLUDED),
}
NOTHING = "nothing"


class Kind(NamedTuple):
    """What a zone shows: all that is published (and hearsay, if promiscuous), or `only` one colour or NOTHING."""

    promiscuous: bool = False
    only: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether such a zone shows no entries at all."""
        return self.only == NOTHING

    @property
    def wanted(self) -> int:
        """Return a table value with the code and flags of all that is shown, 0 where these differ.

        What is of the wanted colour is an ordinary published entry on a shelf.
        """
        colour = COLOURS.get(self.only)
        return table_value(colour.code, 0, colour.flags) if colour else 0


def kind_of(colour: str, promiscuous: bool, is_sunset: bool) -> Kind:
    """Return the kind of a zone by its settings."""
    if is_sunset:
        return Kind(only=NOTHING)
    return Kind(promiscuous) if colour in ("", "black") else Kind(only=colour)


def answer_code(value: int, promiscuous: bool) -> bytes | None:
    """Return the A record's address for a table value, None if the zone does not show the entry."""
    code, _, flags = split_table_value(value)
    if flags & EXCLUDED:
        return None
    if flags & PUBLISHED:
        return PROVEN_CODE
    if not promiscuous:
        return None
    return code if HEARSAY_CODE <= code < b"\x7f\xff\xff\x00" else HEARSAY_CODE
