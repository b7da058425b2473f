"""Write seed corpora for the fuzz targets: DIRECTORY/TARGET/NAME, one small input of each kind that matters.

    python t/fuzz/seeds.py DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from spamcannibal._core import Trap, build, siphash24

SECRET = (1).to_bytes(8, "little") + (2).to_bytes(8, "little")  # fuzz_tarpit's
SRC4, DST4 = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 25])
SRC6, DST6 = bytes.fromhex("20010db8") + bytes(11) + b"\1", bytes.fromhex("20010db8") + bytes(11) + b"\2"
FIN, SYN, ACK = 1, 2, 16
AH = 51
MODES = 5


def extended(packet: bytes, headers: list[tuple[int, bytes]]) -> bytes:
    """Put extension headers of (type, body from the third byte) between an IPv6 header and its TCP."""
    chain = b""
    for i, (kind, body) in enumerate(headers):
        following = headers[i + 1][0] if i + 1 < len(headers) else 6
        words = (len(body) + 2) // 4
        chain += bytes([following, words - 2 if kind == AH else words // 2 - 1]) + body
    length = len(packet) - 40 + len(chain)
    return packet[:4] + length.to_bytes(2, "big") + bytes([headers[0][0]]) + packet[7:40] + chain + packet[40:]


def packets() -> dict[str, bytes]:
    """Packets by name, with right checksums."""
    v4 = build(SRC4, DST4, 4312, 25, seq=1, flags=SYN)
    v6 = build(SRC6, DST6, 4312, 25, seq=1, flags=SYN)
    return {
        "v4": v4,
        "v4-data": build(SRC4, DST4, 4312, 25, flags=ACK, payload=b"EHLO x\r\n"),
        "v4-options": bytes([0x46]) + v4[1:3] + bytes([44]) + v4[4:20] + bytes(4) + v4[20:],
        "v4-fragment": v4[:6] + b"\x20\x01" + v4[8:],
        "v4-udp": v4[:9] + bytes([17]) + v4[10:],
        "v6": v6,
        "v6-hops": extended(v6, [(0, bytes(6))]),
        "v6-chain": extended(v6, [(0, bytes(6)), (60, bytes(14)), (43, bytes(6)), (44, bytes(6)), (AH, bytes(14))]),
        "v6-fragment": extended(v6, [(44, b"\0\1" + bytes(4))]),
    }


def conversation(src: bytes, dst: bytes) -> list[bytes]:
    """A client's packets of one whole trapped connection, acknowledging what it would be sent."""
    family = bytes([4 if len(src) == 4 else 6])
    mask = siphash24(SECRET, family + src + dst + (4312).to_bytes(2, "big") + (25).to_bytes(2, "big")) & 0xFFFFFFFF

    def at(k: int, c: int, payload: bytes = b"", flags: int = ACK) -> bytes:
        return build(src, dst, 4312, 25, seq=1001 + c, ack=(1001 + mask + k) & 0xFFFFFFFF, flags=flags, payload=payload)

    syn = build(src, dst, 4312, 25, seq=1000, flags=SYN)
    talk = [at(0, 0), at(1, 0), at(1, -1), at(8, 0, b"EHLO x\r\n"), at(8, 8, b"x"), at(2, 0)]
    return [syn, *talk, at(2, 0, b"", FIN | ACK)]


def turns(what: int, passed_ms: int, value: int, *bodies: bytes) -> bytes:
    head = bytes([what]) + passed_ms.to_bytes(2, "big") + bytes([value])
    return b"".join(head + bytes([len(body)]) + body for body in bodies)


def seeds() -> dict[str, dict[str, bytes]]:
    """Inputs by target and name; their formats are in the targets."""
    talks = {"v4": conversation(SRC4, DST4), "v6": conversation(SRC6, DST6)}
    plays = {
        f"{family}-{mode}": bytes([mode, 0, 10, 7]) + turns(2, 1100, 1, *talk)
        for family, talk in talks.items()
        for mode in range(MODES)
    }
    dump = Trap(1, SECRET).dump()
    plays["restart"] = bytes([2, 0, 10, 7]) + turns(2, 10, 1, *talks["v4"][:3]) + turns(0, 2000, 0, b"")
    plays["load"] = bytes([2, 0, 10, 7]) + turns(1, 10, 0, dump, dump + bytes([4]) + bytes(71))
    return {
        "fuzz_packet": {f"{name}-{verify}": bytes([verify]) + p for name, p in packets().items() for verify in (0, 1)},
        "fuzz_tarpit": plays,
    }


def write(directory: Path) -> None:
    for target, inputs in seeds().items():
        (directory / target).mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (directory / target / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
