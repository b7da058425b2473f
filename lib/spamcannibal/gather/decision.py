"""What the tally (tally.py) goes by and tells: terms and voices, decisions and accounts with their wording. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from spamcannibal.gather.line import REASON_LIMIT

ORDER = ("white", "yellow", "nobl", "black", "brown")  # the first that holds counts
EXCUSES = frozenset(("white", "yellow", "nobl"))  # colours that are never refused
NAMES_LIMIT = 16  # of reporters, told in one line

Parts = tuple[tuple[str, float], ...]  # names of reporters and what each adds, the heaviest first


class Terms(NamedTuple):
    """What it takes; mappings are by colour: the weight that lists, and how long such a listing lasts."""

    weights: Mapping[str, float]
    lasts_s: Mapping[str, float]
    within_s: float = 3600.0
    half_life_s: float = 3600.0
    session_s: float = 60.0
    addresses: int = 100_000
    peers: frozenset[str] = frozenset()  # reporters that are other sites


class Voice(NamedTuple):
    """A reporter as far as counting goes: the weight of his first session, and of all together (at least that)."""

    name: str
    weight: float
    most: float


class Decision(NamedTuple):
    """A colour that holds: until when, by whose report, for which weight of how much wanted, said by whom, and why.

    `peer` is one without whose like it would not hold; "" if our own reporters' word is enough. `paid` is to whom the
    decision of this key was charged that this one takes the place of; "" if there is none, or its time is over.
    """

    key: bytes
    colour: str
    until: float
    by: str
    reason: str
    weight: float
    wanted: float
    said: Parts
    reasons: Mapping[str, str]
    peer: str = ""
    paid: str = ""

    @property
    def why(self) -> str:
        """Return the grounds as one line, for evidence and logs."""
        return _why(self.colour, self.weight, self.wanted, self.said)

    @property
    def text(self) -> str:
        """Return what is told to the world: the reason of a single reporter, or who of several gave which one."""
        if len(self.said) == 1 or not self.reasons:
            return self.reason
        names: dict[str, list[str]] = {}
        for name, _ in self.said:
            names.setdefault(self.reasons.get(name, ""), []).append(name)
        told = "; ".join(f"{', '.join(by)}: {why}" if why else ", ".join(by) for why, by in names.items())
        return told if len(told) <= REASON_LIMIT else told[: REASON_LIMIT - 3] + "..."

    @property
    def grounds(self) -> str:
        """Return `why` and what each reporter said, a line each, for evidence."""
        if not self.reasons:
            return self.why
        reasons = [f"{name}: {self.reasons[name]}" for name, _ in self.said[:NAMES_LIMIT] if name in self.reasons]
        return "\n".join([self.why, *reasons])


class Account(NamedTuple):
    """What is known of a key: the colour that holds ("" if none), what was decided, and (weight, wanted) by colour."""

    colour: str
    decided: str
    until: float
    weights: Mapping[str, tuple[float, float]]
    said: Mapping[str, Parts]

    @property
    def text(self) -> str:
        """Return it as one line."""
        parts = [self.colour or "nothing holds yet"]
        for colour, (weight, wanted) in self.weights.items():
            if weight:
                parts.append(f"{colour} {weight:.3g} of {wanted:g} ({_listed(self.said[colour])})")
        return "; ".join(parts)


@lru_cache(256)  # in a burst the same reporters say the same of many addresses
def _why(colour: str, weight: float, wanted: float, said: Parts) -> str:
    return f"{colour}: weight {weight:g} of {wanted:g} wanted, said by {_listed(said)}"


def _listed(parts: Parts) -> str:
    """Return who said so, with weights, the heaviest first."""
    told = ", ".join(f"{name} {weight:.3g}" for name, weight in parts[:NAMES_LIMIT])
    return told if len(parts) <= NAMES_LIMIT else f"{told} and {len(parts) - NAMES_LIMIT} more"
