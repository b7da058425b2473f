"""What a writer is told beside the entries, and what a reader finds. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from spamcannibal.dnsbl.export.entry import Entry, of_key
from spamcannibal.dnsbl.names import TEST_LISTED
from spamcannibal.dnsbl.zone import Zone, ZoneSpec
from spamcannibal.record import PROVEN_CODE

MAPPED_TEST_POINT = bytes(10) + b"\xff\xff" + TEST_LISTED


class Facts(NamedTuple):
    """`zone` is of zone formats only; `text` is said where an entry has none, `table` names tables and sets."""

    text: str = ZoneSpec.text
    table: str = "spamcannibal_list"
    serial: int = 1
    zone: Zone | None = None

    @property
    def code(self) -> bytes:
        """The code that most entries have."""
        return (self.zone and self.zone.code) or PROVEN_CODE


# What a consumer holds under one name, and what it says about it: both as text in one form.
Item = tuple[str, str]
Entries = Iterable[Entry]  # can be read more than once; nothing is held between
Lines = Iterable[str]
Write = Callable[[Entries, Entries, Facts], Iterator[str]]
Read = Callable[[Lines], Iterator[Item]]


def with_test_point(entries: Entries, facts: Facts, point: bytes = TEST_LISTED) -> Iterator[Entry]:
    """Yield entries in order with the test point of RFC 5782 in its place; ours counts, whatever else says so."""
    test = of_key(point, facts.code)
    is_due = True
    for entry in entries:
        if is_due and (entry.addr, entry.plen) >= (test.addr, test.plen):
            is_due = False
            yield test
        if (entry.addr, entry.plen) != (test.addr, test.plen):
            yield entry
    if is_due:
        yield test
