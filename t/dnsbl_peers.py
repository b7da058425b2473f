"""What the DNS tests share: a zone, listings, and queries made by dnslib."""

import dnslib

from spamcannibal.addr import parse_key
from spamcannibal.dnsbl.answer import UDP, Transport, View, answer
from spamcannibal.dnsbl.compiled import compiled
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone, with_colours
from spamcannibal.record import OWN_TEXT, table_value

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


def value(flags: int = PROVEN, code: str = "127.0.0.2", has_text: bool = False) -> int:
    return table_value(bytes(map(int, code.split("."))), 0, flags, has_text)


def view(entries: dict[str, int], spec: ZoneSpec = SPEC, texts: dict[str, str] | None = None, serial: int = 7) -> View:
    by_key = {parse_key(key): text.encode() for key, text in (texts or {}).items()}
    specs = with_colours([spec])
    made = Listings([one.kind for one in specs])
    made.load((parse_key(text), number | OWN_TEXT * (text in (texts or {}))) for text, number in entries.items())
    zones = list(map(compile_zone, specs))
    fast = compiled(zones, made.shelves)
    fast.serial = serial
    return View(Zones(zones), made.shelves, lambda: serial, lambda key: by_key.get(key, b""), fast)


def question(name: str, qtype: str = "A", qclass: str = "IN", edns: int | None = None, flags: str = "") -> bytes:
    record = dnslib.DNSRecord.question(name, qtype, qclass)
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns, flags=flags))
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
