"""A zone's settings -> everything that a reply can be made of, packed once by dnslib. Pure.

A Template is one resource record as it goes on the wire, but for what changes from reply to reply: pointers to the
zone's name (it ends the question, so its place depends on the query's length), and in an SOA the serial. Names outside
the zone are not compressed, so a template needs nothing from the reply around it; C fills in the same templates.

| name in the zone | has |
|---|---|
| the zone itself | SOA, NS, MX, A and AAAA of `addresses`, TXT of `about` |
| each of `hosts` | A and AAAA; the names between it and the zone exist without records |
| an address backwards | A and TXT if listed: see answer.py |

A zone may show one colour only (colours.py), may let only some networks ask, and may be in its `sunset`: it lists
nothing but the test point and says so at its own name. A list that just ends is worse: its name expires, and whoever
buys it lists the world.

Answer codes follow the rule "cooperation without recursive feedback": what was proven here is 127.0.0.2; what another
list told us is shown by a promiscuous zone only, and never as .2, so that nobody takes our hearsay for our evidence;
nor as 127.0.0.0 and .1, or in 127.255.255.0/24, which clients take for errors.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import dnslib

from spamcannibal.addr import mask, parse_addr, parse_key, split_key
from spamcannibal.colours import COLOURS, Kind, answer_code, kind_of
from spamcannibal.dnsbl import names, wire
from spamcannibal.dnsbl.names import Prefix
from spamcannibal.dnsbl.wire import Labels
from spamcannibal.errors import ConfigError

TEXT_LIMIT = 2000  # bytes of one TXT: what a listing may cost a resolver, and us when the query is forged
SUNSET_TEXT = "this list is shut down: it lists nothing any more, please stop asking"
SERIAL_SIZE = 20  # the serial starts the last twenty bytes of an SOA
_POINTER = struct.Struct(">H")
_SERIAL = struct.Struct(">I")
_HEAD = struct.Struct(">HHHIH")


class Template(NamedTuple):
    """One record: its bytes, where in them pointers to the zone's name stand, whether it ends in an SOA's numbers."""

    data: bytes
    pointers: tuple[int, ...]
    has_serial: bool = False

    def fill(self, zone_at: int, owner_at: int | None = None) -> bytes:
        """Return the bytes for a reply with the zone's name at `zone_at`; at `owner_at` stands any other owner."""
        data = bytearray(self.data)
        for at in self.pointers:
            _POINTER.pack_into(data, at, 0xC000 | zone_at)
        if owner_at is not None:
            _POINTER.pack_into(data, 0, 0xC000 | owner_at)
        return bytes(data)


# Record type -> its records, the first type being what ANY gets. The zone owns them until they are filled.
Node = Mapping[int, tuple[Template, ...]]


@dataclass(frozen=True)
class ZoneSpec:
    """What a zone's operator sets: names without a trailing dot, `mx` "10 mail.example.org", `hosts` "NAME ADDRESS"."""

    name: str
    contact: str = ""
    ns: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    about: str = ""
    text: str = "$ is listed for sending spam"
    ttl_s: int = 300
    soa_ttl_s: int = 300
    minimum_s: int = 60
    refresh_s: int = 900
    retry_s: int = 300
    expire_s: int = 604_800
    promiscuous: bool = False
    colour: str = ""
    colours: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    sunset: bool = False
    transfer: tuple[str, ...] = ()
    also_notify: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Return what the zone shows."""
        return kind_of(self.colour, self.promiscuous, self.sunset)


@dataclass(frozen=True)
class Zone:
    """A compiled zone. `nodes` holds the static names by their labels before the zone's; the apex is ().

    `code` is the answer for all that is listed, None where the entry decides; `allow` holds (addr, prefix length) of
    who may ask, empty for everybody.
    """

    labels: Labels
    size: int
    promiscuous: bool
    text: bytes
    ttl_s: int
    nodes: Mapping[Labels, Node]
    glue: tuple[Template, ...]
    negative_soa: Template
    kind: Kind
    code: bytes | None
    allow: tuple[Prefix, ...]

    @property
    def name(self) -> str:
        """Return the name as text."""
        return b".".join(self.labels).decode("ascii", "replace")

    def admits(self, addr: bytes) -> bool:
        """Tell whether an address may ask."""
        return not self.allow or any(len(net) == len(addr) and mask(addr, plen) == net for net, plen in self.allow)

    def code_of(self, value: int) -> bytes | None:
        """Return the answer for a value of our kind's shelf, None if it is not shown."""
        return self.code or answer_code(value, self.promiscuous)

    def a_record(self, code: bytes) -> Template:
        """Return the A record of a listing."""
        return Template(_HEAD.pack(0xC000, wire.A, wire.IN, self.ttl_s, 4) + code, (0,))

    def txt_record(self, text: bytes) -> Template:
        """Return the TXT record of a text, in as many character-strings as it needs."""
        strings = character_strings(text)
        return Template(_HEAD.pack(0xC000, wire.TXT, wire.IN, self.ttl_s, len(strings)) + strings, (0,))


class Zones:
    """Zones by name; the most specific one answers."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._by_labels: dict[Labels, Zone] = {}
        for zone in zones:
            if self._by_labels.setdefault(zone.labels, zone) is not zone:
                raise ConfigError(f"dnsbl.zone: {b'.'.join(zone.labels).decode()} is there twice")
        self._depths = sorted({len(labels) for labels in self._by_labels}, reverse=True)

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._by_labels.values())

    def find(self, labels: Labels) -> Zone | None:
        """Return the zone that a name in lower case lies in."""
        for depth in self._depths:
            if len(labels) >= depth:
                zone = self._by_labels.get(labels[len(labels) - depth :])
                if zone is not None:
                    return zone
        return None


def compile_zone(spec: ZoneSpec) -> Zone:
    """Return the zone of its settings; ConfigError names what can't be published."""
    labels = to_labels(spec.name)
    glue: list[Template] = []
    nodes: dict[Labels, Node] = {(): {}}
    for host, addresses in _hosts(spec).items():
        relative = _relative(host, labels, spec.name)
        nodes[relative] = _addresses(labels, (), addresses, spec)
        glue += [one for records in _addresses(labels, relative, addresses, spec).values() for one in records]
        for depth in range(1, len(relative)):
            nodes.setdefault(relative[depth:], {})
    nodes[()] = _apex(labels, spec)
    negative = _template(labels, (), _soa(labels, spec), min(spec.soa_ttl_s, spec.minimum_s))
    text = spec.text.encode("utf-8", "replace")
    return Zone(
        labels,
        wire.name_size(labels),
        spec.promiscuous,
        text,
        spec.ttl_s,
        nodes,
        tuple(glue),
        negative,
        spec.kind,
        COLOURS[spec.colour].code if spec.kind.only in COLOURS else None,
        tuple(split_key(parse_key(text)) for text in spec.allow),
    )


def with_colours(specs: Iterable[ZoneSpec]) -> list[ZoneSpec]:
    """Return the zones and, after each, those of its `colours`: COLOUR.ZONE, with the same servers and times."""
    made = []
    for spec in specs:
        made.append(spec)
        for colour in spec.colours:
            bare = replace(spec, mx=(), addresses=(), hosts=(), colours=(), promiscuous=False)
            made.append(replace(bare, name=f"{colour}.{spec.name}", ns=_servers(spec), colour=colour))
    return made


def expand(text: bytes, address: str) -> bytes:
    """Return a text with `$` replaced by the address and `$$` by a dollar sign, cut to the limit."""
    parts = text.split(b"$$")
    return b"$".join(part.replace(b"$", address.encode()) for part in parts)[:TEXT_LIMIT]


def with_serial(soa: bytes, serial: int) -> bytes:
    """Return an SOA's bytes with its serial."""
    return soa[:-SERIAL_SIZE] + _SERIAL.pack(serial & 0xFFFFFFFF) + soa[4 - SERIAL_SIZE :]


def character_strings(text: bytes) -> bytes:
    """Return a text as TXT data: strings of at most 255 bytes, each after its length; at least one."""
    pieces = [text[at : at + 255] for at in range(0, len(text), 255)] or [b""]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces)


def to_labels(name: str) -> Labels:
    """Return a name's labels in lower case."""
    labels = tuple(name.lower().rstrip(".").encode("ascii", "replace").split(b"."))
    if not all(1 <= len(label) <= wire.LABEL_LIMIT for label in labels) or wire.name_size(labels) > wire.NAME_LIMIT:
        raise ConfigError(f"dnsbl.zone: not a domain name: {name!r}")
    return labels


class _ZoneName(dict[Labels, int]):
    """dnslib's table of names to point at: the zone's alone, since no other is sure to be in the reply."""

    def __setitem__(self, labels: Labels, offset: int) -> None:
        """Learn nothing while packing."""


def _template(zone: Labels, relative: Labels, rdata: dnslib.RD, ttl_s: int) -> Template:
    """Return the template of a record owned by a name in the zone.

    Packed twice with the zone's name at two places, so what differs is a pointer, whatever the data holds.
    """
    near, far = (_pack(zone, relative, rdata, ttl_s, at) for at in (0, 0x3FFF))
    places = [at for at in range(len(near) - 1) if near[at : at + 2] == b"\xc0\0" and far[at : at + 2] == b"\xff\xff"]
    return Template(near, tuple(places), isinstance(rdata, dnslib.SOA))


def _pack(zone: Labels, relative: Labels, rdata: dnslib.RD, ttl_s: int, zone_at: int) -> bytes:
    buffer = dnslib.DNSBuffer()
    buffer.names = _ZoneName({zone: zone_at})
    rtype = dnslib.QTYPE.reverse[type(rdata).__name__]
    dnslib.RR(dnslib.DNSLabel(relative + zone), rtype, ttl=ttl_s, rdata=rdata).pack(buffer)
    return bytes(buffer.data)


def _apex(zone: Labels, spec: ZoneSpec) -> Node:
    records: dict[int, list[dnslib.RD]] = {
        wire.NS: [dnslib.NS(_label(name)) for name in _servers(spec)],
        wire.MX: [dnslib.MX(_label(name), preference) for preference, name in map(_mail_exchanger, spec.mx)],
        wire.TXT: [_text(text) for text in (spec.about, SUNSET_TEXT if spec.sunset else "") if text],
    }
    apex: dict[int, tuple[Template, ...]] = {wire.SOA: (_template(zone, (), _soa(zone, spec), spec.soa_ttl_s),)}
    for rtype, rdata in records.items():
        if rdata:
            apex[rtype] = tuple(_template(zone, (), one, spec.ttl_s) for one in rdata)
    return {**apex, **_addresses(zone, (), spec.addresses, spec)}


def _addresses(zone: Labels, relative: Labels, addresses: Iterable[str], spec: ZoneSpec) -> Node:
    node: dict[int, tuple[Template, ...]] = {}
    for text in addresses:
        addr = parse_addr(text)
        rtype, rdata = (wire.A, dnslib.A(tuple(addr))) if len(addr) == 4 else (wire.AAAA, dnslib.AAAA(tuple(addr)))
        node[rtype] = (*node.get(rtype, ()), _template(zone, relative, rdata, spec.ttl_s))
    return node


def _soa(zone: Labels, spec: ZoneSpec) -> dnslib.SOA:
    """The primary is the first name server; the contact defaults to hostmaster of the zone (RFC 2142)."""
    local, _, domain = spec.contact.rpartition("@")
    contact = (local.encode(), *to_labels(domain)) if local else (b"hostmaster", *zone)
    primary = to_labels(_servers(spec)[0])
    times = (0, spec.refresh_s, spec.retry_s, spec.expire_s, spec.minimum_s)
    return dnslib.SOA(dnslib.DNSLabel(primary), dnslib.DNSLabel(contact), times)


def _servers(spec: ZoneSpec) -> tuple[str, ...]:
    return spec.ns or (spec.name,)


def _text(text: str) -> dnslib.TXT:
    data = text.encode("utf-8", "replace")[:TEXT_LIMIT]
    return dnslib.TXT([data[at : at + 255] for at in range(0, len(data), 255)])


def _mail_exchanger(text: str) -> tuple[int, str]:
    """Return preference and name of "10 mail.example.org"; without a number it is 10."""
    preference, _, name = text.rpartition(" ")
    return int(preference or 10), name


def _label(name: str) -> dnslib.DNSLabel:
    return dnslib.DNSLabel(to_labels(name))


def _hosts(spec: ZoneSpec) -> dict[str, list[str]]:
    """Return the addresses of each host."""
    hosts: dict[str, list[str]] = {}
    for entry in spec.hosts:
        host, _, address = entry.partition(" ")
        hosts.setdefault(host.lower(), []).append(address)
    return hosts


def _relative(host: str, zone: Labels, zone_name: str) -> Labels:
    """Return a host's labels before the zone's; ConfigError if it lies outside or would be read as an address."""
    labels = to_labels(host)
    relative = labels[: -len(zone)]
    if not relative or labels[-len(zone) :] != zone:
        raise ConfigError(f"dnsbl.zone.hosts: {host!r} does not lie in {zone_name}")
    if any(names.readings(relative[-1:])):
        raise ConfigError(f"dnsbl.zone.hosts: {host!r} would be read as part of an address")
    return relative
