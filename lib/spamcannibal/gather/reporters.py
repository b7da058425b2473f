"""Who may report, and how much: peers and secrets in, a Reporter out. Pure.

A reporter is known by where he comes from (addresses and prefixes, or "local": our Unix socket), by his certificate
(SHA-256 fingerprint, or a name in it), by a shared key, or by several of these: whichever kinds are given, one of each
must fit. The first reporter that fits is taken, in the order of the settings.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from spamcannibal.addr import covers
from spamcannibal.gather.decision import Voice
from spamcannibal.gather.line import VERBS

LOCAL = "local"
REMEMBERED = 4096  # peers whose possible reporters are kept at hand


class Peer(NamedTuple):
    """The other end of a connection: its addr, empty for our Unix socket; its certificate's fingerprint and names."""

    addr: bytes = b""
    fingerprint: str = ""
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reporter:
    """One reporter; `nets` are keys, `is_local` adds the Unix socket, `per_hour` caps what he can cause."""

    voice: Voice
    nets: tuple[bytes, ...] = ()
    is_local: bool = False
    fingerprints: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    secret: bytes = b""
    colours: frozenset[str] = frozenset(VERBS)
    prefixes: bool = False
    per_s: float = 100.0
    per_hour: int = 1000

    @property
    def name(self) -> str:
        return self.voice.name

    def may_be(self, peer: Peer) -> bool:
        """Tell whether place and certificate fit."""
        if self.nets or self.is_local:
            comes_from = any(covers(net, peer.addr) for net in self.nets) if peer.addr else self.is_local
            if not comes_from:
                return False
        if self.fingerprints or self.names:
            return peer.fingerprint in self.fingerprints or not self.names.isdisjoint(peer.names)
        return True

    def knows(self, secret: str) -> bool:
        """Tell whether the shared key fits, if there is one."""
        return not self.secret or hmac.compare_digest(self.secret, secret.encode("utf-8", "replace"))


@dataclass
class _Bucket:
    """Reports that a reporter has left, filled up with time."""

    left: float
    since: float
    refused: int = field(default=0)


class Reporters:
    """All reporters, and how fast each may be: at most one second's reports at once."""

    def __init__(self, reporters: Iterable[Reporter]) -> None:
        self.all = tuple(reporters)
        self.by_name = {reporter.name: reporter for reporter in self.all}
        self._near: dict[Peer, tuple[Reporter, ...]] = {}
        self._buckets: dict[str, _Bucket] = {}

    def find(self, peer: Peer, secret: str = "") -> Reporter | None:
        """Return who reports, None for a stranger."""
        return next((reporter for reporter in self.near(peer) if reporter.knows(secret)), None)

    def near(self, peer: Peer) -> tuple[Reporter, ...]:
        """Return who a peer may be, if he says the right key; none for a stranger."""
        near = self._near.get(peer)
        if near is None:
            if len(self._near) >= REMEMBERED:
                self._near.clear()
            near = self._near[peer] = tuple(reporter for reporter in self.all if reporter.may_be(peer))
        return near

    def admits(self, reporter: Reporter, now: float) -> bool:
        """Take one report off what a reporter has left; False if nothing is."""
        most = max(1.0, reporter.per_s)
        bucket = self._buckets.get(reporter.name)
        if bucket is None:
            bucket = self._buckets[reporter.name] = _Bucket(most, now)
        bucket.left = min(most, bucket.left + max(0.0, now - bucket.since) * reporter.per_s)
        bucket.since = now
        if bucket.left < 1.0:
            bucket.refused += 1
            return False
        bucket.left -= 1.0
        return True

    @property
    def refused(self) -> Mapping[str, int]:
        """Return how many reports came too fast, by reporter."""
        return {name: bucket.refused for name, bucket in self._buckets.items()}
