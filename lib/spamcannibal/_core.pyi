"""The C core: address table, packet decisions and packet loop; addr and key are packed bytes as in `addr.py`."""

from collections.abc import Iterable
from typing import final

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

# --- py_tarpit.c ---

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
