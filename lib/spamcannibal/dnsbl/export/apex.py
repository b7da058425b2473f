"""The records of a zone that are no listings, as text: taken from the zone that the server answers from. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import dnslib

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl.export.text import domain, quoted
from spamcannibal.dnsbl.wire import HEADER
from spamcannibal.dnsbl.zone import Template, Zone, with_serial


class Record(NamedTuple):
    """`owner` is relative, "@" for the zone; `words` are the data as in a master file, names absolute."""

    owner: str
    ttl_s: int
    rtype: str
    words: tuple[str, ...]


def records(zone: Zone, serial: int) -> Iterator[Record]:
    """Yield the records of the zone and its hosts, SOA first."""
    for labels, node in zone.nodes.items():
        owner = domain(labels)[:-1] or "@"
        for templates in node.values():
            for template in templates:
                parsed = _parsed(zone, template, serial)
                yield Record(owner, parsed.ttl, dnslib.QTYPE[parsed.rtype], _words(parsed.rdata))


def _parsed(zone: Zone, template: Template, serial: int) -> dnslib.RR:
    """Return a template as dnslib's record; its pointers are to a message that holds only the zone's name."""
    name = b"".join(bytes((len(label),)) + label for label in zone.labels) + b"\0"
    data = template.fill(HEADER.size)
    message = bytes(HEADER.size) + name + (with_serial(data, serial) if template.has_serial else data)
    buffer = dnslib.DNSBuffer(message)
    buffer.offset = HEADER.size + len(name)
    return dnslib.RR.parse(buffer)


def _words(rdata: dnslib.RD) -> tuple[str, ...]:
    match rdata:
        case dnslib.SOA():
            return (domain(rdata.mname.label), domain(rdata.rname.label), *map(str, rdata.times))
        case dnslib.NS():
            return (domain(rdata.label.label),)
        case dnslib.MX():
            return (str(rdata.preference), domain(rdata.label.label))
        case dnslib.TXT():
            return (quoted(b"".join(rdata.data)),)
        case dnslib.A() | dnslib.AAAA():
            return (format_addr(bytes(rdata.data)),)
    raise TypeError(f"a zone has no records of this type: {rdata!r}")
