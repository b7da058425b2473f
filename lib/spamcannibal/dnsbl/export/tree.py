"""Networks inside networks: what each consumer can't express is worked out here. Pure; all take entries in order.

    children_first   for consumers that take the first match
    needed           without exceptions that lie in nothing listed
    carved           for consumers without longest match or exceptions: networks with holes become several

All stream: they hold the networks around the current entry, at most 129, and pieces of these.
"""

from collections.abc import Callable, Iterable, Iterator

from spamcannibal.dnsbl.export.entry import Entry

# (outer length, inner length) -> the consumer itself prefers the inner network.
Native = Callable[[int, int], bool]


def children_first(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield each network after all that lie in it."""
    around: list[Entry] = []
    for entry in entries:
        while around and not around[-1].covers(entry):
            yield around.pop()
        around.append(entry)
    yield from reversed(around)


def needed(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield entries without the exceptions that change nothing: those not directly inside a listed network."""
    around: list[Entry] = []
    for entry in entries:
        while around and not around[-1].covers(entry):
            around.pop()
        if entry.is_listed or (around and around[-1].is_listed):
            around.append(entry)
            yield entry


def carved(entries: Iterable[Entry], native: Native = lambda outer, inner: False) -> Iterator[Entry]:
    """Yield networks of which none lies in another one, but where that is native to the consumer.

    What lies in a network is cut out of it, and the rest follows as the fewest prefixes. Exceptions are yielded too:
    a consumer with exceptions needs them against networks further out, any other drops them.
    """
    around: list[_Hole] = []
    for entry in entries:
        while around and not around[-1].entry.covers(entry):
            yield from around.pop().rest()
        if around and not native(around[-1].entry.plen, entry.plen):
            yield from around[-1].cut(entry)
        around.append(_Hole(entry))
    while around:
        yield from around.pop().rest()


def pieces(bits: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (addr, plen) of the fewest prefixes that make up the addresses from `start` to before `end`."""
    while start < end:
        size = start & -start or 1 << bits
        while size > end - start:
            size >>= 1
        yield start, bits - size.bit_length() + 1
        start += size


class _Hole:
    """A network of which everything before `at` is done."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._at = entry.addr

    def cut(self, inner: Entry) -> Iterator[Entry]:
        """Yield the pieces before an inner network, and leave that out."""
        start, self._at = self._at, inner.end
        return self._pieces(start, inner.addr)

    def rest(self) -> Iterator[Entry]:
        return self._pieces(self._at, self.entry.end)

    def _pieces(self, start: int, end: int) -> Iterator[Entry]:
        return (self.entry.at(addr, plen) for addr, plen in pieces(self.entry.bits, start, end))
