"""The C core: address table, packet decisions and packet loop; addr and key are packed bytes as in `addr.py`."""

from collections.abc import Iterable
from typing import Any, TypeAlias, final

# --- py_table.c ---

@final
class AddrTable:
    """Prefixes (IPv4 and IPv6) to numbers of 1 to 2**32 - 1, longest match first; safe from several threads."""

    def __new__(cls) -> AddrTable: ...
    def __len__(self) -> int: ...
    def set(self, key: bytes, value: int, /) -> None: ...
    def discard(self, key: bytes, /) -> bool: ...
    def get(self, key: bytes, /) -> int: ...
    def lookup(self, addr: bytes, /) -> int: ...
    def match(self, addr: bytes, /) -> tuple[int, int] | None: ...
    def load(self, pairs: Iterable[tuple[bytes, int]], /) -> int: ...
    def items(self) -> list[tuple[bytes, int]]: ...
    @property
    def memory_bytes(self) -> int: ...

# --- py_tarpit.c, py_packet.c ---

PacketFields: TypeAlias = dict[str, Any]  # family src dst proto sport dport seq ack flags window payload_len total_len
Decision: TypeAlias = tuple[str, bytes | None, str, str, str, int]  # verdict, reply, event, mode, slot action, k

def decode(packet: bytes, verify: bool = False) -> tuple[str, PacketFields | None]: ...
def build(
    src: bytes,
    dst: bytes,
    sport: int,
    dport: int,
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = 0,
    window: int = 0,
    payload: bytes = b"",
) -> bytes: ...
def siphash24(key: bytes, data: bytes, /) -> int: ...

@final
class Trap:
    """The tarpit's settings, held connections and statistics; now_ms is the monotonic clock, read if not given."""

    def __new__(cls, slots: int, secret: bytes) -> Trap: ...
    def configure(
        self,
        *,
        mode: str = ...,
        greeting_name: str = ...,
        throttle_window: int = ...,
        stutter_interval_s: float = ...,
        connections: int = ...,
        bandwidth_limit_bytes: int = ...,
        other_protocols: bool = ...,
        loopback: bool = ...,
        answer_synack: bool = ...,
        unacked_limit: int = ...,
    ) -> None: ...
    def decide(self, packet: bytes, value: int, verify: bool = False) -> Decision: ...
    def apply(
        self, packet: bytes, value: int, *, ifindex: int = 0, mac: bytes = b"", now_ms: int | None = None
    ) -> Decision: ...
    def due(self, now_ms: int | None = None) -> list[tuple[bytes, int, bytes]]: ...
    def next_due(self) -> int | None: ...
    def dump(self, now_ms: int | None = None) -> bytes: ...
    def load(self, dump: bytes, now_ms: int | None = None) -> int: ...
    def stats(self, now_ms: int | None = None) -> dict[str, Any]: ...

# --- py_loop.c ---

@final
class NfqLoop:
    """The packet loop of one kernel queue that the netlink socket `fd` is bound to; `fd` stays the caller's.

    run() serves without the GIL until stop(), or raises OSError when the queue is lost. drain() takes what was noted since
    the last drain: (listed, unlisted, events), a sighting (addr, count, first_ms, last_ms), an event
    (time_ms, name, mode, src, sport, dst, dport). OSError from the constructor: no right or no memory.
    """

    def __init__(
        self,
        fd: int,
        queue: int,
        table: AddrTable,
        trap: Trap,
        copy_bytes: int = 128,
        queue_length: int = 8192,
        sightings: int = 65536,
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def drain(
        self,
    ) -> tuple[
        list[tuple[bytes, int, int, int]],
        list[tuple[bytes, int, int, int]],
        list[tuple[int, str, str, bytes, int, bytes, int]],
    ]: ...
    def counters(self) -> dict[str, int]: ...
