"""The country of an address, from IPFire's location database (Debian's libloc-database), read where it lies. Pure.

    magic "LOCDBXX" · version 1 · made u64 · vendor, description, licence u32 · offset and length u32 of: providers,
    networks, tree, countries, texts
    network    country, two letters · 2 · provider u32 · flags u16 · 2
    node       child for a 0, child for a 1, network u32: 0 no child, 2^32 - 1 no network

The tree has IPv6; IPv4 lies below ::ffff:0:0/96. The deepest network on an address's way is its own.
"""

import struct
from mmap import mmap

from spamcannibal.addr import MAPPED, V6_BITS
from spamcannibal.errors import ConfigError

PACKAGE = "libloc-database"
MAGIC = b"LOCDBXX"

_HEADER = struct.Struct(">7sBQ3I8I")
_NODE = struct.Struct(">3I")
_NETWORK_BYTES = 12
_NO_NETWORK = (1 << 32) - 1


class Location:
    """Which country each address belongs to."""

    def __init__(self, data: bytes | mmap, name: str) -> None:
        """`name` is the file's; ConfigError if it is another one."""
        header = _HEADER.unpack(data[: _HEADER.size]) if len(data) >= _HEADER.size else (b"", 0)
        if header[:2] != (MAGIC, 1):
            raise ConfigError(f"{name}: no location database of version 1, want the file of {PACKAGE}")
        (self._networks, networks), (self._tree, tree) = header[8:10], header[10:12]
        if max(self._networks + networks, self._tree + tree) > len(data):
            raise ConfigError(f"{name}: cut off after {len(data)} bytes; fetch it anew: location update")
        self._data, self._nodes, self._count = data, tree // _NODE.size, networks // _NETWORK_BYTES

    def find(self, addr: bytes) -> str | None:
        """Return the two letters of an address's country, None if it is unknown."""
        number = int.from_bytes(addr if len(addr) == 16 else MAPPED + addr, "big")
        node, network = 0, _NO_NETWORK
        for bit in range(V6_BITS - 1, -2, -1):
            if node >= self._nodes:
                break
            left, right, here = _NODE.unpack_from(self._data, self._tree + node * _NODE.size)
            if here != _NO_NETWORK:
                network = here
            node = right if bit >= 0 and number >> bit & 1 else left
            if not node:
                break
        if network >= self._count:
            return None
        at = self._networks + network * _NETWORK_BYTES
        country = self._data[at : at + 2]
        return country.decode() if country.isalpha() and country.isupper() else None
