"""Zones and shelves -> _core.DnsView: what the C loop answers from, byte for byte as answer.py does. Pure.

What C does not answer it hands to Python, which asks answer.py: dnswire.h says what that is.
"""

from collections.abc import Iterable, Mapping

from spamcannibal._core import DnsView, Shelf
from spamcannibal.colours import Kind
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.wire import Labels
from spamcannibal.dnsbl.zone import Zone


def compiled(zones: Iterable[Zone], shelves: Mapping[Kind, Shelf]) -> DnsView:
    """Return what C publishes; its serial is 0."""
    return DnsView(tuple(_zone(zone, shelves[zone.kind]) for zone in zones))


def _zone(zone: Zone, shelf: Shelf) -> tuple[object, ...]:
    nodes = tuple((_relative(labels), tuple(node.items())) for labels, node in zone.nodes.items())
    code = int.from_bytes(zone.code or b"", "big")
    head = (wire.pack_name(zone.labels), shelf, zone.promiscuous, bool(zone.allow), code)
    return (*head, zone.ttl_s, zone.text, zone.negative_soa, nodes, zone.glue)


def _relative(labels: Labels) -> bytes:
    return wire.pack_name(labels)[:-1]
