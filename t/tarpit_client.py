"""A client of the tarpit as packets: its segments by the theory's k and c, and scapy's reading of the replies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spamcannibal._core import Trap, build, decode, siphash24

SECRET = bytes(range(100, 116))
NAME = "mail.example.org"
GREETING = b"220 mail.example.org ESMTP\r\n"
LINE = b"220-mail.example.org ESMTP\r\n"
G, W = len(GREETING), 10
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
LISTED = 1
MODES = {"throttle": 1, "persist": 2, "stutter": 3, "drop": 4, "observe": 5}
ENDS = {
    "v4": (bytes([192, 0, 2, 1]), bytes([198, 51, 100, 25])),
    "v6": (bytes.fromhex("20010db8000000000000000000000001"), bytes.fromhex("20010db8000100000000000000000025")),
}


def new_trap(mode: str = "stutter", slots: int = 8, **settings: Any) -> Trap:
    trap = Trap(slots, SECRET)
    trap.configure(mode=mode, greeting_name=NAME, **{"throttle_window": W, **settings})
    return trap


def as_value(mode: str, flags: int = 0) -> int:
    """A listing's table value with a mode of its own."""
    return LISTED | MODES[mode] << 1 | flags << 4


@dataclass(frozen=True)
class Client:
    """One end of a connection; `iss` is its initial sequence number."""

    ends: tuple[bytes, bytes] = field(default_factory=lambda: ENDS["v4"])
    port: int = 4312
    iss: int = 0xFFFFFFF0  # wraps within the first bytes

    @property
    def mask(self) -> int:
        src, dst = self.ends
        family = bytes([4 if len(src) == 4 else 6])
        ports = self.port.to_bytes(2, "big") + (25).to_bytes(2, "big")
        return siphash24(SECRET, family + src + dst + ports) & 0xFFFFFFFF

    @property
    def our_iss(self) -> int:
        return (self.iss + self.mask) & 0xFFFFFFFF

    def raw(self, flags: int, seq: int = 0, ack: int = 0, payload: bytes = b"") -> bytes:
        seq, ack = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
        return build(*self.ends, self.port, 25, seq=seq, ack=ack, flags=flags, window=65000, payload=payload)

    def syn(self) -> bytes:
        return self.raw(SYN, self.iss)

    def at(self, k: int, c: int = 0, payload: bytes = b"", flags: int = ACK) -> bytes:
        """A segment sent from the client's byte c when it has k bytes of ours."""
        return self.raw(flags, self.iss + 1 + c, self.our_iss + 1 + k, payload)

    def read(self, reply: bytes) -> tuple[int, int, int, int, bytes]:
        """(flags, seq, ack, window, payload) of a reply to this client; seq counts our bytes and ack the client's."""
        kind, fields = decode(reply, True)
        assert kind == "TCP"
        assert fields is not None
        assert (fields["dst"], fields["src"], fields["dport"], fields["sport"]) == (*self.ends, self.port, 25)
        payload = reply[len(reply) - fields["payload_len"] :]
        seq = (fields["seq"] - self.our_iss - 1) & 0xFFFFFFFF
        return fields["flags"], seq, (fields["ack"] - self.iss - 1) & 0xFFFFFFFF, fields["window"], payload
