"""The country of a few addresses, found in the sorted text files of tor-geoipdb where they lie. Pure.

jobs/countries.py reads these files whole, which takes seconds and is then quick for a million addresses; here it is a
few hundred, and half a second would be long. In: the files' bytes (a memory map will do).
"""

from collections.abc import Callable
from ipaddress import IPv6Address
from mmap import mmap

Data = bytes | mmap
LINE_LIMIT = 200


class SortedRanges:
    """Lines FIRST,LAST,CC in order of FIRST; others begin with # and stand at the top."""

    def __init__(self, data: Data, parse: Callable[[bytes], int]) -> None:
        self._data = data
        self._parse = parse

    def find(self, number: int) -> str | None:
        """Return the country of the range that holds a number; None if none does, or the file is of another form."""
        low, high = 0, len(self._data)
        best = None
        while low < high:
            middle = (low + high) // 2
            start = self._data.rfind(b"\n", 0, middle) + 1
            end = self._data.find(b"\n", middle)
            end = len(self._data) if end < 0 else end
            line = bytes(self._data[start : min(end, start + LINE_LIMIT)])
            fields = line.split(b",")
            if len(fields) != 3:  # a comment at the top, or an empty line
                low = end + 1
                continue
            try:
                first = self._parse(fields[0])
            except ValueError:
                return None
            if first <= number:
                best, low = fields, end + 1
            else:
                high = start
        return self._country(best, number)

    def _country(self, fields: list[bytes] | None, number: int) -> str | None:
        if fields is None:
            return None
        try:
            is_inside = number <= self._parse(fields[1])
        except ValueError:
            return None
        country = fields[2].strip().decode("ascii", "replace")
        return country if is_inside and len(country) == 2 and country.isalpha() else None


def finder(v4: Data, v6: Data) -> Callable[[bytes], str | None]:
    """Return the function that names an address's country."""
    by_size = {4: SortedRanges(v4, int), 16: SortedRanges(v6, lambda text: int(IPv6Address(text.decode("ascii"))))}
    return lambda addr: by_size[len(addr)].find(int.from_bytes(addr, "big"))
