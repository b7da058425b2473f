"""A running DNS server as a consumer: ask it about a sample of addresses, and compare with what the store publishes.

Asked about are listings and exceptions, each by its first address, and the address after its last, which shows what is
listed too widely or was removed and is still served.
"""

import random
from collections.abc import Callable, Iterable, Iterator

from spamcannibal.addr import format_addr, make_key, mask
from spamcannibal.dnsbl.client import Exchange, look_up
from spamcannibal.dnsbl.export.drift import Drift
from spamcannibal.dnsbl.export.entry import Entry, Select
from spamcannibal.dnsbl.names import TEST_CLEAR, TEST_LISTED
from spamcannibal.errors import Unavailable
from spamcannibal.store.stores import Store


def choose(entries: Iterable[Entry], size: int, seed: int) -> list[Entry]:
    """Return a uniform sample of entries, read once (reservoir sampling); the seed makes it repeatable."""
    chance = random.Random(seed)
    kept: list[Entry] = []
    for at, entry in enumerate(entries):
        if at < size:
            kept.append(entry)
        elif (slot := chance.randrange(at + 1)) < size:
            kept[slot] = entry
    return kept


def addresses(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the addresses to ask about, each once."""
    seen = {TEST_CLEAR}
    yield TEST_CLEAR
    for entry in entries:
        for number in (entry.addr, entry.end % (1 << entry.bits)):
            addr = number.to_bytes(entry.bits // 8, "big")
            if addr not in seen:
                seen.add(addr)
                yield addr


def compare(asked: Iterable[bytes], expected: Callable[[bytes], str], zone: str, exchange: Exchange) -> Drift:
    """Return how a server's answers differ from the expected codes ("" is not listed); Unavailable if it errs."""
    drift = Drift()
    for addr in asked:
        want, verdict = expected(addr), look_up(addr, zone, exchange)
        if not verdict.is_answer:
            raise Unavailable(f"{verdict.name}: the server answers {verdict.rcode}, which tells nothing of the list")
        got = verdict.code
        drift.expected += bool(want)
        drift.held += bool(got)
        if want != got:
            drift.note("missing" if not got else "differs" if want else "surplus", format_addr(addr))
    return drift


def expected_code(store: Store, select: Select, test_code: bytes, addr: bytes) -> str:
    """Return the code that the store's entries give an address in a zone, "" if it is not listed there."""
    if addr in (TEST_LISTED, TEST_CLEAR):
        return format_addr(test_code) if addr == TEST_LISTED else ""
    for plen in range(len(addr) * 8, -1, -1):
        listing = store.get_key(make_key(mask(addr, plen), plen))
        code = select(listing.state) if listing else None
        if code is not None:
            return format_addr(code) if code else ""
    return ""
