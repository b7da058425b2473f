"""What the jobs ask of the network: remote.client.Client has it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from spamcannibal.remote.verdict import Pointers, Verdict


class Asker(Protocol):
    """Asks lists and reverse DNS; every method may raise Unavailable when nobody answers."""

    def pointers(self, addrs: Sequence[bytes]) -> dict[bytes, Pointers]:
        """Return the names of addresses."""

    def verdicts(self, addrs: Sequence[bytes], zones: Sequence[str]) -> dict[bytes, list[Verdict]]:
        """Return what these lists say about addresses."""

    def stream(self, addrs: Iterable[bytes]) -> Iterator[tuple[bytes, list[Verdict]]]:
        """Yield what all lists say about each address, in any order, reading ahead a bounded window."""
