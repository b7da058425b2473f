"""What the DNS tests share: a zone, listings without the C core, and queries made by dnslib."""

from collections.abc import Iterable

import dnslib

from spamcannibal.addr import mask, parse_key
from spamcannibal.dnsbl.answer import UDP, Transport, View, answer
from spamcannibal.dnsbl.colours import Kind
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone, with_colours
from spamcannibal.record import table_value

ZONE = "bl.example.org"
SPEC = ZoneSpec(
    ZONE,
    contact="post.master@example.org",
    ns=("ns1.bl.example.org", "ns.elsewhere.example"),
    mx=("10 mx.elsewhere.example",),
    addresses=("192.0.2.80", "2001:db8::80"),
    hosts=("ns1.bl.example.org 192.0.2.53", "ns1.bl.example.org 2001:db8::53", "deep.under.bl.example.org 192.0.2.54"),
    about="a list of example senders",
    text="$ is listed",
)
PROVEN, EXCLUDED, SHADOW, HEARSAY = 1, 2, 4, 0


class DictTable:
    """The longest match of _core.AddrTable by a dict and a walk over lengths."""

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def set(self, key: bytes, value: int) -> None:
        self.entries[key] = value

    def load(self, pairs: Iterable[tuple[bytes, int]]) -> int:
        self.entries.update(pairs)
        return len(self.entries)

    def discard(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def get(self, key: bytes) -> int:
        return self.entries.get(key, 0)

    def items(self) -> list[tuple[bytes, int]]:
        return list(self.entries.items())

    def match(self, addr: bytes) -> tuple[int, int] | None:
        for plen in range(len(addr) * 8, -1, -1):
            network = mask(addr, plen)
            value = self.get(network if plen == len(addr) * 8 else network + bytes((plen,)))
            if value:
                return plen, value
        return None


def value(flags: int = PROVEN, code: str = "127.0.0.2") -> int:
    return table_value(bytes(map(int, code.split("."))), 0, flags)


def listings(entries: dict[str, int], promiscuous: bool = False) -> Listings:
    """Listings of key texts."""
    made = Listings(DictTable, (Kind(promiscuous),))
    made.load((parse_key(text), number) for text, number in entries.items())
    return made


def view(entries: dict[str, int], spec: ZoneSpec = SPEC, texts: dict[str, str] | None = None, serial: int = 7) -> View:
    by_key = {parse_key(key): text.encode() for key, text in (texts or {}).items()}
    specs = with_colours([spec])
    made = Listings(DictTable, [one.kind for one in specs])
    made.load((parse_key(text), number) for text, number in entries.items())
    return View(Zones(map(compile_zone, specs)), made.shelves, lambda: serial, lambda key: by_key.get(key, b""))


def question(name: str, qtype: str = "A", qclass: str = "IN", edns: int | None = None) -> bytes:
    record = dnslib.DNSRecord.question(name, qtype, qclass)
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    return bytes(record.pack())


def ask(view: View, name: str, qtype: str = "A", transport: Transport = UDP, **options: object) -> dnslib.DNSRecord:
    """The reply to a name in the zone ("" is the zone), parsed by dnslib."""
    full = f"{name}.{ZONE}" if name else ZONE
    reply = answer(question(full, qtype, **options), view, transport)  # type: ignore[arg-type]
    assert isinstance(reply, bytes)
    return dnslib.DNSRecord.parse(reply)


def rcode(record: dnslib.DNSRecord) -> str:
    return dnslib.RCODE[record.header.rcode]


def outcome(record: dnslib.DNSRecord) -> str:
    """One word for a reply: its answers joined by blanks, else NODATA or the rcode."""
    if record.rr:
        return " ".join(str(rr.rdata) for rr in record.rr)
    soa = [rr for rr in record.auth if rr.rtype == dnslib.QTYPE.SOA]
    if rcode(record) == "NOERROR":
        return "NODATA" if soa else "EMPTY"
    assert bool(soa) == (rcode(record) == "NXDOMAIN")
    return rcode(record)
