"""Labels before a zone's name -> the addresses they mean. Pure.

A DNSBL name is an address written backwards (RFC 5782): "4.3.2.1" is 1.2.3.4, 32 nibbles are an IPv6 address. Fewer
labels name everything under a prefix: "2.1" is 1.2.0.0/16. Such a name is no listing, but it exists if one lies below
it (RFC 8020), and resolvers that minimise names (RFC 9156) ask for it first.

One digit is an octet and a nibble, so "4.3.2.1" is 1.2.3.4 and also 1234::/16; `readings` gives every meaning.
Octets and nibbles stand in their one form: no leading zeros, no other base.

IPv4-mapped names (::ffff:0:0/96) mean the IPv4 address. So the test points of RFC 5782, 127.0.0.2 and ::ffff:7f00:2
(listed), 127.0.0.1 and ::ffff:7f00:1 (never), are two addresses and not four.
"""

from collections.abc import Iterator

from spamcannibal.addr import MAPPED, V4_BITS, V6_BITS
from spamcannibal.dnsbl.wire import Labels

TEST_LISTED = bytes((127, 0, 0, 2))
TEST_CLEAR = bytes((127, 0, 0, 1))

_MAPPED_BITS = V6_BITS - V4_BITS
_OCTETS = {b"%d" % n: n for n in range(256)}
_NIBBLES = {b"%x" % n: f"{n:x}" for n in range(16)}
_TEST_POINT_V6 = int.from_bytes(MAPPED + TEST_LISTED, "big")

Prefix = tuple[bytes, int]


def readings(labels: Labels) -> Iterator[Prefix]:
    """Yield the (addr, prefix length) that labels in lower case mean: none, one or two."""
    v4 = read_octets(labels)
    if v4 is not None:
        yield v4
    v6 = read_nibbles(labels)
    if v6 is not None:
        yield unmap_prefix(*v6)


def read_octets(labels: Labels) -> Prefix | None:
    """Return the IPv4 prefix of one to four octets."""
    if not 1 <= len(labels) <= 4:
        return None
    try:
        octets = bytes([_OCTETS[label] for label in reversed(labels)])
    except KeyError:
        return None
    return octets.ljust(4, b"\0"), 8 * len(octets)


def read_nibbles(labels: Labels) -> Prefix | None:
    """Return the IPv6 prefix of one to 32 nibbles."""
    if not 1 <= len(labels) <= 32:
        return None
    try:
        digits = "".join([_NIBBLES[label] for label in reversed(labels)])
    except KeyError:
        return None
    return bytes.fromhex(digits.ljust(32, "0")), 4 * len(digits)


def unmap_prefix(addr: bytes, plen: int) -> Prefix:
    """Return the IPv4 prefix that an IPv6 one inside ::ffff:0:0/96 means, any other as it is."""
    if plen >= _MAPPED_BITS and addr.startswith(MAPPED):
        return addr[12:], plen - _MAPPED_BITS
    return addr, plen


def is_host(addr: bytes, plen: int) -> bool:
    """Tell whether a prefix is one address."""
    return plen == len(addr) * 8


def holds_test_point(addr: bytes, plen: int) -> bool:
    """Tell whether the test point that is always listed lies under a prefix."""
    point = _TEST_POINT_V6 if len(addr) == 16 else int.from_bytes(TEST_LISTED, "big")
    return plen == 0 or (point ^ int.from_bytes(addr, "big")) >> (len(addr) * 8 - plen) == 0
