"""The milter protocol of Sendmail and Postfix, as far as refusing a client at connect takes: packets <-> values. Pure.

    size (4 bytes, network order) of what follows | command (1 byte) | data

| from the mail server | data | our reply |
|---|---|---|
| O negotiation | version, actions, steps, 4 bytes each | O: the same, as we want it |
| D macros | of no interest here | none |
| C client | name NUL family; but for family U port (2 bytes), address NUL | a verdict |
| A abort the message, Q quit, K quit and begin with another client | none | none |
| H M R T U L N B E: what the client does then | of no interest here | the verdict on him |

Numbers are in network order; a family is 4, 6, L (a Unix socket) or U (unknown); Sendmail writes "IPv6:" before such an
address. In the steps we ask for nothing but the client, as far as the server can leave the rest out, and both verdicts
end the server's interest in us for this client. Versions 2 to 6 are alike in all of this.

A verdict is ACCEPT or a reply with our text. Sendmail takes the reply for a format, so % is doubled (Postfix undoes
it), and says "Command rejected" instead of the text; Postfix gives all of it to the client.

Source: the Internet-Draft of the milter protocol, and what both servers do. Our own, since no library fits:
kilter.protocol (2024) forbids a reply with text at connect and fails by assertions, struct and Unicode errors on wrong
bytes; pymilter (2021) binds libmilter, which wants threads and sockets of its own; the others are older or alphas.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from spamcannibal.addr import parse_addr
from spamcannibal.errors import AddrError, WireError

PACKET_LIMIT_BYTES = 16384  # message bodies are not asked for; macros about certificates are the longest
VERSIONS = (2, 6)
TEXT_LIMIT_BYTES = 480  # twice that, if all are %, fits Sendmail's 980; a line of SMTP has 512 with code and CRLF

NEGOTIATE, MACROS, CONNECT, ABORT, QUIT, QUIT_NC = b"O", b"D", b"C", b"A", b"Q", b"K"
EVENTS = frozenset((b"H", b"M", b"R", b"T", b"U", b"L", b"N", b"B", b"E"))
ACCEPT, REPLY = b"a", b"y"
_VERDICTS = frozenset((ACCEPT, REPLY))
ANSWERS: Mapping[bytes, frozenset[bytes]] = {
    NEGOTIATE: frozenset((NEGOTIATE,)),
    CONNECT: _VERDICTS,
    **dict.fromkeys((MACROS, ABORT, QUIT, QUIT_NC), frozenset()),
    **dict.fromkeys(EVENTS, _VERDICTS),
}

# The steps that a server can leave out: HELO, MAIL, RCPT, body, headers, their end, unknown commands, DATA.
UNWANTED = 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200

_CODES: Mapping[str, bytes] = {"reject": b"550 5.7.1", "defer": b"451 4.7.1"}
_OFFER = struct.Struct(">III")
_V6_TAG = "ipv6:"


class Offer(NamedTuple):
    """What a server can do."""

    version: int
    actions: int
    steps: int


def take_packet(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Take (command, data, rest of the bytes); None where more must come, WireError if the size is none."""
    if len(data) < 4:
        return None
    size = int.from_bytes(data[:4])
    if not 0 < size <= PACKET_LIMIT_BYTES:
        raise WireError(f"milter packet: got {size} bytes, want 1 to {PACKET_LIMIT_BYTES}")
    end = 4 + size
    return None if len(data) < end else (data[4:5], data[5:end], data[end:])


def packet(command: bytes, data: bytes = b"") -> bytes:
    return (len(data) + 1).to_bytes(4) + command + data


def parse_offer(data: bytes) -> Offer:
    """Parse a negotiation; later versions may append to it."""
    if len(data) < _OFFER.size:
        raise WireError(f"milter negotiation: got {len(data)} bytes, want {_OFFER.size}")
    offer = Offer(*_OFFER.unpack_from(data))
    if offer.version < VERSIONS[0]:
        raise WireError(f"milter negotiation: got version {offer.version}, want {VERSIONS[0]} or later")
    return offer


def negotiation(offer: Offer) -> bytes:
    """Return the reply to an offer: no actions, and of the steps that can be left out all."""
    return packet(NEGOTIATE, _OFFER.pack(min(offer.version, VERSIONS[1]), 0, offer.steps & UNWANTED))


def parse_client(data: bytes) -> bytes | None:
    """Return the addr of a client; None for one that has none (a Unix socket, unknown)."""
    _, nul, rest = data.partition(b"\0")
    family = rest[:1]
    if not nul or not family or family not in b"46LU":
        raise WireError("milter client: want a name, NUL, and a family of 4, 6, L or U")
    if family == b"U":
        if len(rest) > 1:
            raise WireError(f"milter client: got {len(rest) - 1} bytes after family U, want none")
        return None
    address, nul, more = rest[3:].partition(b"\0")
    if not nul or more:
        raise WireError(f"milter client: want a port, an address and NUL after family {family.decode()}")
    return None if family == b"L" else _parse_address(family, address.decode("ascii", "replace"))


def accept() -> bytes:
    """Return the verdict that lets a client in."""
    return packet(ACCEPT)


def refusal(act: str, text: str) -> bytes:
    """Return the verdict on a client that is not let in: `act` is reject (for good) or defer (for now)."""
    line = bytes(octet if 32 <= octet < 127 else 63 for octet in text.encode("ascii", "replace"))
    return packet(REPLY, _CODES[act] + b" " + line[:TEXT_LIMIT_BYTES].replace(b"%", b"%%") + b"\0")


def _parse_address(family: bytes, text: str) -> bytes:
    if family == b"6" and text[: len(_V6_TAG)].lower() == _V6_TAG:
        text = text[len(_V6_TAG) :]
    try:
        addr = parse_addr(text.partition("%")[0])  # a link's own addresses have a scope
    except AddrError as error:
        raise WireError(f"milter client: {error}") from None
    if family == b"4" and len(addr) != 4:
        raise WireError("milter client: got an IPv6 address, want IPv4 after family 4")
    return addr
