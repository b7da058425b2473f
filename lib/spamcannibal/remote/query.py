"""Questions for remote lists and reverse DNS as bytes. Pure.

    header (12)  id · RD · one question · no answers · an OPT or none
    question     name, uncompressed · type · IN
    OPT          RFC 6891: 1232 bytes fit, which is never fragmented on its way

The letters of a name are asked in random case ("0x20"): a reply must repeat them, which makes forging it as much harder
as the name has letters. Recursive resolvers (BIND, Unbound, Knot, PowerDNS, and the big public ones) repeat the name's
bytes as they came. IPv4 names have letters only in the zone, so the id and the port, both random, stay the larger part.
"""

import struct

from spamcannibal.addr import reversed_name

A, NS, SOA, PTR, TXT, AAAA = 1, 2, 6, 12, 16, 28
TYPES = {"A": A, "NS": NS, "SOA": SOA, "PTR": PTR, "TXT": TXT, "AAAA": AAAA}
PAYLOAD_BYTES = 1232
NAME_LIMIT = 255

_HEADER = struct.Struct(">6H")
_RD = 0x0100
_OPT = struct.pack(">BHHIH", 0, 41, PAYLOAD_BYTES, 0, 0)
# 0x20 for a letter, 0 for any other byte: lengths of labels are below 64, so below the letters.
_LETTERS = bytes(0x20 if chr(byte).isalpha() and byte < 128 else 0 for byte in range(256))
_REVERSE = {4: b"\7in-addr\4arpa\0", 16: b"\3ip6\4arpa\0"}


def pack_name(name: str) -> bytes:
    """Return a name's bytes; "" and "." are the root. The caller knows that it is a name."""
    labels = name.rstrip(".").split(".") if name.rstrip(".") else []
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels) + b"\0"


def list_name(addr: bytes, suffix: bytes) -> bytes:
    """Return the name that asks a list about an addr; `suffix` is its zone as bytes, after the key if it has one."""
    if len(addr) == 4:
        return b"".join([_OCTETS[octet] for octet in reversed(addr)]) + suffix
    return pack_name(reversed_name(addr))[:-1] + suffix


def pointer_name(addr: bytes) -> bytes:
    """Return the name of an addr in reverse DNS."""
    return list_name(addr, _REVERSE[len(addr)])


def mix_case(name: bytes, noise: bytes) -> bytes:
    """Return a name with the case of its letters by the bits of as many random bytes."""
    letters = int.from_bytes(name.translate(_LETTERS), "big") & int.from_bytes(noise, "big")
    return (int.from_bytes(name, "big") ^ letters).to_bytes(len(name), "big")


def pack_question(name: bytes, qtype: int) -> bytes:
    """Return a question's bytes."""
    return name + _TAILS[qtype]


def pack_query(ident: int, question: bytes, edns: bool = True) -> bytes:
    """Return a message that asks."""
    if edns:
        return _HEADER.pack(ident, _RD, 1, 0, 0, 1) + question + _OPT
    return _HEADER.pack(ident, _RD, 1, 0, 0, 0) + question


_OCTETS = [b"%c%d" % (len(str(octet)), octet) for octet in range(256)]
_TAILS = {qtype: struct.pack(">2H", qtype, 1) for qtype in TYPES.values()}
