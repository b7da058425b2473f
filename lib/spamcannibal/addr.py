"""Addresses, prefixes and store keys: strict text parsing, canonical text, reversed DNSBL names, set relations.

| name | is | example |
|---|---|---|
| addr | 4 or 16 packed bytes, network order | `b"\\x01\\x02\\x03\\x04"` |
| key of a host | the addr itself | 1.2.3.4, 2001:db8::1 |
| key of a network | addr, then one byte of prefix length, below 32 or 128 | 1.2.3.0/24, 2001:db8::/64 |

Every prefix has one key only: no host bits, and a /32 or /128 is the bare host. IPv4-mapped IPv6 (::ffff:0:0/96) never
exists inside the program: every parser here turns it into the IPv4 address, so one sender has one key.

Text is taken strictly, since inet_aton's short and octal forms ("10.1", "010.0.0.1") let two readers see two addresses:
IPv4 is four decimal octets without leading zeros, IPv6 is RFC 4291 section 2.2 without zone identifiers; text out
follows RFC 5952. Reversed names are those of RFC 5782 (IPv4 octets, section 2.1; IPv6 nibbles, section 2.4).
"""

from spamcannibal.errors import AddrError

V4_BITS = 32
V6_BITS = 128
MAPPED = bytes(10) + b"\xff\xff"

_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_LOOPBACK = {bytes(4): bytes((127, 0, 0, 1)), bytes(16): bytes(15) + b"\1"}
_OCTETS = {str(n): n for n in range(256)}
_NIBBLES = frozenset("0123456789abcdef")
_MAX_TEXT = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")


def parse_addr(text: str) -> bytes:
    """Return the addr that a text names; AddrError if it is not exactly one address."""
    addr = _parse_v6(text) if ":" in text else _parse_v4(text)
    if addr is None:
        raise AddrError(f"not an address: got {_shown(text)}, want IPv4 a.b.c.d or IPv6")
    return unmap(addr)


def parse_key(text: str) -> bytes:
    """Return the store key of an address or prefix; AddrError names the right network if host bits are set."""
    host, slash, length = text.partition("/")
    if not slash:
        return parse_addr(text)
    addr = _parse_v6(host) if ":" in host else _parse_v4(host)
    if addr is None:
        raise AddrError(f"not a prefix: got {_shown(text)}, want ADDRESS/LENGTH")
    plen = _parse_decimal(length, 3)
    if plen is None or plen > len(addr) * 8:
        raise AddrError(f"wrong prefix length: got {_shown(text)}, want /0 to /{len(addr) * 8}")
    if addr.startswith(MAPPED) and plen >= V6_BITS - V4_BITS:
        return make_key(unmap(addr), plen - (V6_BITS - V4_BITS))
    return make_key(addr, plen)


def format_addr(addr: bytes) -> str:
    """Return the canonical text of an addr (RFC 5952)."""
    if len(addr) == 4:
        return ".".join(map(str, addr))
    if len(addr) != 16:
        raise AddrError(f"not an address: got {len(addr)} bytes, want 4 or 16")
    groups = [addr[i] << 8 | addr[i + 1] for i in range(0, 16, 2)]
    start, length = _longest_zero_run(groups)
    if length < 2:
        return ":".join(f"{group:x}" for group in groups)
    head = ":".join(f"{group:x}" for group in groups[:start])
    tail = ":".join(f"{group:x}" for group in groups[start + length :])
    return f"{head}::{tail}"


def format_key(key: bytes) -> str:
    """Return the canonical text of a key: an address, or a prefix with its length."""
    if len(key) == 4 or len(key) == 16:
        return format_addr(key)
    addr, plen = split_key(key)
    return f"{format_addr(addr)}/{plen}"


def make_key(addr: bytes, plen: int) -> bytes:
    """Return the key of addr/plen; AddrError if plen is out of range or host bits are set."""
    network = mask(addr, plen)
    if network != addr:
        raise AddrError(f"host bits set: got {format_addr(addr)}/{plen}, want {format_addr(network)}/{plen}")
    return addr if plen == len(addr) * 8 else addr + bytes((plen,))


def split_key(key: bytes) -> tuple[bytes, int]:
    """Return (addr, prefix length) of a key; AddrError if the bytes are no key in its one form."""
    size = len(key)
    if size == 4 or size == 16:
        return key, size * 8
    if size != 5 and size != 17:
        raise AddrError(f"not a key: got {size} bytes, want 4, 5, 16 or 17")
    addr, plen = key[:-1], key[-1]
    if plen >= len(addr) * 8 or mask(addr, plen) != addr:
        raise AddrError(f"not a key: got {format_addr(addr)}/{plen} as bytes {key.hex()}, want no host bits")
    return addr, plen


def mask(addr: bytes, plen: int) -> bytes:
    """Return addr with all bits past the first `plen` cleared."""
    size = len(addr)
    if (size != 4 and size != 16) or not 0 <= plen <= size * 8:
        raise AddrError(f"wrong prefix: got {size} bytes with length {plen}, want 4 with 0 to 32 or 16 with 0 to 128")
    shift = size * 8 - plen
    return (int.from_bytes(addr, "big") >> shift << shift).to_bytes(size, "big")


def unmap(addr: bytes) -> bytes:
    """Return the IPv4 addr inside an IPv4-mapped IPv6 one, any other addr as it is."""
    return addr[12:] if len(addr) == 16 and addr.startswith(MAPPED) else addr


def listing_key(addr: bytes, v6_plen: int = 64) -> bytes:
    """Return the key under which a host is listed: itself in IPv4, its network of `v6_plen` bits in IPv6."""
    return addr if len(addr) == 4 else make_key(mask(addr, v6_plen), v6_plen)


def parse_listing_key(text: str, v6_plen: int = 64) -> bytes:
    """Return the key under which a text is listed: an IPv6 address is its network, unless /128 is written."""
    return parse_key(text) if "/" in text else listing_key(parse_addr(text), v6_plen)


def covers(outer_key: bytes, inner_key: bytes) -> bool:
    """Tell whether every address of inner_key is one of outer_key."""
    outer, outer_plen = split_key(outer_key)
    inner, inner_plen = split_key(inner_key)
    return len(outer) == len(inner) and outer_plen <= inner_plen and mask(inner, outer_plen) == outer


def around(key: bytes) -> list[bytes]:
    """Return the keys of all prefixes that cover a key, itself among them, the longest first."""
    addr, plen = split_key(key)
    number, size = int.from_bytes(addr, "big"), len(addr)
    shifts = range(size * 8 - plen + 1, size * 8 + 1)
    return [key, *((number >> n << n).to_bytes(size, "big") + bytes((size * 8 - n,)) for n in shifts)]


def range_keys(first: bytes, last: bytes) -> list[bytes]:
    """Return the keys of the fewest prefixes that hold the addresses first to last; AddrError if there are none."""
    at, end, bits = int.from_bytes(first, "big"), int.from_bytes(last, "big") + 1, len(first) * 8
    if len(first) != len(last) or at >= end:
        raise AddrError(f"not a range: got {format_addr(first)}-{format_addr(last)}, want the lower address first")
    keys = []
    while at < end:
        size = (at & -at) if at else 1 << bits
        while size > end - at:
            size >>= 1
        keys.append(make_key(at.to_bytes(bits // 8, "big"), bits - (size.bit_length() - 1)))
        at += size
    return keys


def overlaps(a: bytes, b: bytes) -> bool:
    """Tell whether two keys have an address in common."""
    return covers(a, b) or covers(b, a)


def reversed_name(addr: bytes) -> str:
    """Return the labels of a DNSBL query for addr, without a zone: "4.3.2.1", or 32 nibbles for IPv6."""
    if len(addr) == 4:
        return ".".join(map(str, addr[::-1]))
    if len(addr) != 16:
        raise AddrError(f"not an address: got {len(addr)} bytes, want 4 or 16")
    return ".".join(addr.hex()[::-1])


def parse_reversed(labels: str) -> bytes | None:
    """Return the addr that the labels before a DNSBL zone name, None if they are not one whole address.

    No trailing dot; nibbles in either case (names compare without case); IPv4-mapped nibbles give the IPv4 addr.
    """
    parts = labels.split(".", V4_BITS)
    if len(parts) == 4:
        return _octets(parts[::-1])
    nibbles = [part.lower() for part in reversed(parts)]
    if len(nibbles) != 32 or not _NIBBLES.issuperset(nibbles):
        return None
    return unmap(bytes.fromhex("".join(nibbles)))


def parse_endpoint(text: str) -> tuple[bytes, int]:
    """Return (addr, port) of "1.2.3.4:25" or "[2001:db8::1]:25"; AddrError if the text is neither."""
    host, _, digits = text.rpartition(":")
    port = _parse_decimal(digits, 5)
    if port is None or port > 65535 or (":" in host) != (host[:1] == "[" and host[-1:] == "]"):
        raise AddrError(f"not an endpoint: got {_shown(text)}, want ADDRESS:PORT, IPv6 as [ADDRESS]:PORT")
    return parse_addr(host[1:-1] if ":" in host else host), port


def reachable(text: str) -> tuple[bytes, int]:
    """Return an endpoint of ours to connect to: where it is all addresses, loopback."""
    addr, port = parse_endpoint(text)
    return _LOOPBACK.get(addr, addr), port


def format_endpoint(addr: bytes, port: int) -> str:
    """Return address and port as text, IPv6 in brackets."""
    return f"[{format_addr(addr)}]:{port}" if len(addr) == 16 else f"{format_addr(addr)}:{port}"


def _octets(parts: list[str]) -> bytes | None:
    """Return the bytes of decimal octets, None if any is not in its one form."""
    try:
        return bytes([_OCTETS[part] for part in parts])
    except KeyError:
        return None


def _parse_v4(text: str) -> bytes | None:
    parts = text.split(".", 4)
    return _octets(parts) if len(parts) == 4 else None


def _parse_v6(text: str) -> bytes | None:
    """Return the 16 bytes of RFC 4291 text: eight groups, one run of them perhaps "::", the last two perhaps IPv4."""
    if len(text) > _MAX_TEXT:
        return None
    head, gap, tail = text.partition("::")
    if not gap:
        addr = _groups(text, last=True)
        return addr if addr is not None and len(addr) == 16 else None
    before = _groups(head, last=False) if head else b""
    after = _groups(tail, last=True) if tail else b""
    if before is None or after is None or len(before) + len(after) > 14:
        return None
    return before + bytes(16 - len(before) - len(after)) + after


def _groups(text: str, last: bool) -> bytes | None:
    """Return the bytes of groups joined by ":"; an IPv4 address may end them if `last`."""
    parts = text.split(":")
    end = b""
    if last and "." in parts[-1]:
        v4 = _parse_v4(parts.pop())
        if v4 is None:
            return None
        end = v4
    if any(not 1 <= len(part) <= 4 or not _HEX.issuperset(part) for part in parts):
        return None
    return bytes.fromhex("".join(part.zfill(4) for part in parts)) + end


def _parse_decimal(text: str, digits: int) -> int | None:
    """Return a number of at most so many ASCII digits without leading zeros."""
    if not 1 <= len(text) <= digits or not _DIGITS.issuperset(text) or (text[0] == "0" and text != "0"):
        return None
    return int(text)


def _longest_zero_run(groups: list[int]) -> tuple[int, int]:
    """Return (start, length) of the longest run of zero groups, the first of equal ones."""
    best, start = (0, 0), 0
    for i, group in enumerate([*groups, 1]):
        if group:
            if i - start > best[1]:
                best = (start, i - start)
            start = i + 1
    return best


def _shown(text: str) -> str:
    """Return outside text for a message: quoted, escaped and cut."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")
