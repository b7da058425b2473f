"""What the export tests share: entries by text, the longest match as oracle, and models of what consumers do."""

from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

from dnsbl_peers import SPEC
from spamcannibal.addr import format_addr, mask, parse_addr, parse_key
from spamcannibal.dnsbl.export.entry import EXCEPTION, Entry, of_key, ordered
from spamcannibal.dnsbl.export.facts import Facts
from spamcannibal.dnsbl.zone import compile_zone
from spamcannibal.record import PROVEN_CODE

FACTS = Facts(text=SPEC.text, serial=7, zone=compile_zone(SPEC))
HEARD = bytes((127, 0, 0, 5))


def entries(listed: Mapping[str, bytes], texts: Mapping[str, str] | None = None) -> tuple[list[Entry], list[Entry]]:
    """IPv4 and IPv6 entries in order, of key texts and codes."""
    keys = {parse_key(text): (code, (texts or {}).get(text, "")) for text, code in listed.items()}
    sides = []
    for sizes in ((4, 5), (16, 17)):
        rows = [(key, b"") for key in sorted(keys) if len(key) in sizes]
        sides.append([of_key(key, *keys[key]) for key, _ in ordered(rows)])
    return sides[0], sides[1]


def verdict(found: Iterable[Entry], addr: bytes) -> bytes:
    """The code of the longest entry that covers an address, EXCEPTION if none lists it."""
    number, bits = int.from_bytes(addr, "big"), len(addr) * 8
    around = [entry for entry in found if entry.bits == bits and entry.addr <= number < entry.end]
    return max(around, key=lambda entry: entry.plen).code if around else EXCEPTION


def corners(found: Iterable[Entry]) -> set[bytes]:
    """The addresses where a verdict can change: first and last of each entry, and those beside them."""
    numbers = {
        (entry.bits, number % (1 << entry.bits))
        for entry in found
        for number in (
            entry.addr - 1,
            entry.addr,
            entry.addr + 1,
            entry.end - 1,
            entry.end,
            (entry.addr + entry.end) // 2,
        )
    }
    return {number.to_bytes(bits // 8, "big") for bits, number in numbers}


def _texts(networks: Iterable[str], lengths: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    def shorten(drawn: tuple[str, int]) -> str:
        addr = parse_addr(drawn[0])
        return f"{format_addr(mask(addr, drawn[1]))}/{drawn[1]}"

    return st.tuples(st.sampled_from(sorted(networks)), lengths).map(shorten)


# Few addresses that lie in each other's networks, some with one-digit octets, which read as nibbles too.
V4 = (
    "10.77.200.4",
    "10.77.200.5",
    "10.77.200.132",
    "10.77.7.1",
    "2.0.0.1",
    "2.0.0.30",
    "2.0.13.4",
    "2.1.1.1",
    "2.200.1.1",
)
V6 = ("2001:db8::1", "2001:db8::2", "2001:db8:0:8000::1", "2001:db9::1", "2000::1", "2001:da8::77")
CODES = st.sampled_from([PROVEN_CODE, PROVEN_CODE, HEARD, EXCEPTION])
KEYS4 = _texts(V4, st.sampled_from([10, 12, 15, 16, 17, 22, 23, 24, 25, 26, 30, 31, 32, 32]))
KEYS6 = _texts(V6, st.sampled_from([13, 18, 29, 32, 33, 46, 47, 48, 63, 64, 65, 126, 127, 128]))
LISTS = st.dictionaries(st.one_of(KEYS4, KEYS6), CODES, max_size=9)
