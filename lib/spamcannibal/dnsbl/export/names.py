"""Networks -> owner names of a plain DNS zone, which knows hosts and wildcards only. Pure, streaming.

A network that ends between two labels is the names of its parts at the next label (a /22: four /24); at a full address
the name itself has the records, above it a wildcard `*.3.2.1` has. A wildcard does not reach past a name that exists
(RFC 4592), which is the whole difficulty:

* a listed host 1.2.3.4 makes the name 3.2.1 exist, so the wildcard `*.2.1` of 1.2.0.0/16 no longer covers 1.2.3.9: each
  name between a network and what lies in it gets the wildcard again;
* an exception is a name that exists without A and TXT. It holds a record of a private type (RFC 6895) that no client
  asks for: a BLOCK;
* IPv4 and IPv6 share the zone, and one digit is an octet and a nibble: `*.2` for 2.0.0.0/8 would list all of 2000::/8.
  So there is no IPv4 wildcard under labels of one digit only (they are split up to full addresses), and no IPv6 one
  of less than four labels. Then no name of either family is reached by a wildcard of the other.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.tree import needed

_V6_SHALLOWEST = 16  # bits in four nibbles


class Owner(NamedTuple):
    """A name's labels before the zone's, and the entry whose records it has; an exception's are a BLOCK."""

    name: str
    entry: Entry


class _Node(NamedTuple):
    """A place in the tree of labels; in a heap the widest of one address comes first, then the most specific entry."""

    addr: int
    depth_bits: int
    precedence: int
    entry: Entry


def owners(entries: Iterable[Entry]) -> Iterator[Owner]:
    """Yield the names of entries of one family in order."""
    around: list[_Node] = []
    last: _Node | None = None
    for node in _nodes(needed(entries)):
        while around and not _is_inside(node, around[-1]):
            around.pop()
        if around:
            yield from _repeated(around[-1], last, node)
        around.append(node)
        last = node
        yield Owner(name_of(node.entry, node.addr, node.depth_bits), node.entry)


def _nodes(entries: Iterable[Entry]) -> Iterator[_Node]:
    """Yield the nodes of all entries in order, one for each place: that of the most specific entry."""
    waiting: list[_Node] = []
    done = (-1, -1)
    for entry in entries:
        while waiting and waiting[0].addr < entry.addr:
            node = heappop(waiting)
            if node[:2] != done:
                yield node
            done = node[:2]
        for addr, depth_bits in places(entry, depth_of(entry)):
            heappush(waiting, _Node(addr, depth_bits, -entry.plen, entry))
    while waiting:
        node = heappop(waiting)
        if node[:2] != done:
            yield node
        done = node[:2]


def depth_of(entry: Entry) -> int:
    """Return the bits of the shortest names that can express an entry."""
    if entry.bits == 32:
        return max(8, -entry.plen % 8 + entry.plen)
    return max(_V6_SHALLOWEST, -entry.plen % 4 + entry.plen)


def places(entry: Entry, depth_bits: int) -> Iterator[tuple[int, int]]:
    """Yield address and depth of the names that express an entry, not below `depth_bits`."""
    step = 1 << entry.bits - depth_bits
    for addr in range(entry.addr, entry.end, step):
        if entry.bits == 32 and depth_bits < 32 and is_ambiguous(addr, depth_bits):
            yield from places(entry.at(addr, depth_bits), depth_bits + 8)
        else:
            yield addr, depth_bits


def is_ambiguous(addr: int, depth_bits: int) -> bool:
    """Tell whether the labels of an IPv4 network are nibbles too."""
    return all(octet < 10 for octet in addr.to_bytes(4, "big")[: depth_bits // 8])


def _repeated(outer: _Node, last: _Node | None, node: _Node) -> Iterator[Owner]:
    """Yield the outer network's wildcard for each name between it and a node that was not there before."""
    if not outer.entry.is_listed:
        return
    label = 8 if node.entry.bits == 32 else 4
    for depth_bits in range(outer.depth_bits + label, node.depth_bits, label):
        shift = node.entry.bits - depth_bits
        addr = node.addr >> shift << shift
        was_there = last is not None and last.depth_bits >= depth_bits and last.addr >> shift == addr >> shift
        if not was_there and depth_bits >= shallowest(node.entry.bits):
            yield Owner(name_of(outer.entry, addr, depth_bits), outer.entry)


def shallowest(bits: int) -> int:
    """Return the depth above which a family has no names."""
    return 8 if bits == 32 else _V6_SHALLOWEST


def _is_inside(node: _Node, outer: _Node) -> bool:
    shift = node.entry.bits - outer.depth_bits
    return node.depth_bits >= outer.depth_bits and node.addr >> shift == outer.addr >> shift


def name_of(entry: Entry, addr: int, depth_bits: int) -> str:
    """Return the labels of a place: an exception's name has no wildcard, since it must not reach below."""
    packed = addr.to_bytes(entry.bits // 8, "big")
    labels = [str(octet) for octet in packed] if entry.bits == 32 else list(packed.hex())
    name = ".".join(reversed(labels[: depth_bits // (8 if entry.bits == 32 else 4)]))
    return f"*.{name}" if entry.is_listed and depth_bits < entry.bits else name
