"""Reports of several mail servers -> whether an address is listed, in which colour, and why. Pure.

    tally.hear(report, voice, now)      -> a Decision if the reports so far now say something new, else None
    tally.explain(key, now)             -> an Account: what counts for each colour, and what is lacking

How reports count:

* A reporter counts once, with his weight, however often he says it: reports less than `session_s` apart are one
  session. One whose `most` is above his weight counts again for each further session, up to `most` in all.
* black and brown count in full for `within_s`, then half as much every `half_life_s`, then (below a sixteenth) not at
  all. So distinct reporters within t list, and old reports fade.
* white, yellow and nobl count in full as long as such a listing lasts, and then not at all: white wins for a time.
* A colour holds when its weights add up to its threshold. white beats yellow, nobl, black and brown, in this order.
  A black report counts for brown too, which is what brown means: spam, not yet enough for black.

A decision is made when the colour differs from the one decided last, or when more than half of the time of that is
over. Decided black is not turned into brown by fading.

A decision that needs the word of a peer (another site) names the heaviest one. With the report that makes what our own
reporters say enough by itself, it is decided anew: from then on it is ours.

At most `addresses` keys are kept; past that the one that was silent longest is forgotten. For one key and reporter
there are at most SESSIONS sessions. The order in which reports come does not matter, only their times (but for what
these bounds forget).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from spamcannibal.gather.line import Report

ORDER = ("white", "yellow", "nobl", "black", "brown")  # the first that holds counts
EXCUSES = frozenset(("white", "yellow", "nobl"))  # colours that are never refused
SESSIONS = 16
FADED = 1 / 16
SLACK = 1e-9
_COUNTS_FOR = {colour: (colour,) for colour in ORDER} | {"black": ("black", "brown")}

_Said = Mapping[str, Mapping[str, float]]
Parts = tuple[tuple[str, float], ...]


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
    """A colour that holds: until when, by whose report, for which weight of how much wanted, said by whom.

    `peer` is one without whose like it would not hold; "" if our own reporters' word is enough.
    """

    key: bytes
    colour: str
    until: float
    by: str
    reason: str
    weight: float
    wanted: float
    said: Parts
    peer: str = ""

    @property
    def why(self) -> str:
        """Return the grounds as one line, for evidence and logs."""
        said = ", ".join(f"{name} {weight:g}" for name, weight in self.said)
        return f"{self.colour}: weight {self.weight:g} of {self.wanted:g} wanted, said by {said}"


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
                said = ", ".join(f"{name} {part:.3g}" for name, part in self.said[colour])
                parts.append(f"{colour} {weight:.3g} of {wanted:g} ({said})")
        return "; ".join(parts)


# Reports of one colour by one reporter, none further than session_s from the next: who, his weight and most, the
# colour, first and last time.
_Session = tuple[str, float, float, str, float, float]
# What is kept of a key: the colour decided last, until when, and the six values of each session. All of it is one flat
# tuple of plain values, since these the garbage collector lets go of at once; to look through 100,000 of anything else
# it would stop everything for 30 ms.
_Case = tuple[Any, ...]
_NEW: _Case = ("", 0.0)


class Tally:
    """The cases by key, the longest silent first."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.forgotten = 0
        self._cases: OrderedDict[bytes, _Case] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cases)

    def hear(self, report: Report, voice: Voice, now: float) -> Decision | None:
        """Count a report; return what it decides, if that is new."""
        key = report.key
        decided, until, *rest = self._take(key)
        before = _sessions(rest)
        sessions = self._joined(before, voice, report.colour, now)
        said = self._said(sessions, now)
        colour = self._colour(said)
        peer = self._needed(colour, said)
        is_ours_now = bool(self.terms.peers and not peer and self._needed(colour, self._said(before, now)))
        if not colour or (self._is_known(colour, decided, until - now) and not is_ours_now):
            self._cases[key] = (decided, until, *chain.from_iterable(sessions))
            return None
        until = now + self.terms.lasts_s[colour]
        self._cases[key] = (colour, until, *chain.from_iterable(sessions))
        wanted, parts = self.terms.weights[colour], _sorted(said[colour])
        return Decision(key, colour, until, voice.name, report.reason, _sum(parts), wanted, parts, peer)

    def retract(self, key: bytes) -> None:
        """Take it that what was decided of a key last did not happen."""
        case = self._cases.get(key)
        if case is not None:
            self._cases[key] = (*_NEW, *case[2:])

    def explain(self, key: bytes, now: float) -> Account | None:
        """Return why a key has its colour, or what it lacks; None for one that nobody reported, or long ago."""
        case = self._cases.get(key)
        if case is None:
            return None
        decided, until, *rest = case
        said = self._said(_sessions(rest), now)
        parts = {colour: _sorted(said.get(colour, {})) for colour in ORDER}
        weights = {colour: (_sum(parts[colour]), self.terms.weights[colour]) for colour in ORDER}
        return Account(self._colour(said), decided if until > now else "", until, weights, parts)

    def _take(self, key: bytes) -> _Case:
        """Return what is known of a key, which is the one heard of last now."""
        case = self._cases.get(key)
        if case is not None:
            self._cases.move_to_end(key)
            return case
        self._cases[key] = _NEW
        if len(self._cases) > self.terms.addresses:
            self._cases.popitem(last=False)
            self.forgotten += 1
        return _NEW

    def _is_known(self, colour: str, decided: str, left_s: float) -> bool:
        """Tell whether a colour was decided, and will last for a while yet."""
        if decided == "black" and colour == "brown":
            return left_s > 0
        return decided == colour and left_s > self.terms.lasts_s[colour] / 2

    def _colour(self, said: _Said) -> str:
        wanted = self.terms.weights
        return next((c for c in ORDER if c in said and sum(said[c].values()) >= wanted[c] - SLACK), "")

    def _needed(self, colour: str, said: _Said) -> str:
        """Return the heaviest peer without whose like a colour would not hold, "" if our own are enough, or no peer."""
        parts = said.get(colour, {})
        peers = self.terms.peers.intersection(parts)
        if not peers:
            return ""
        ours = sum(weight for name, weight in parts.items() if name not in peers)
        return "" if ours >= self.terms.weights[colour] - SLACK else min(peers, key=lambda name: (-parts[name], name))

    def _said(self, sessions: Sequence[_Session], now: float) -> _Said:
        """Return what each reporter adds to each colour now, by colour and name."""
        said: dict[str, dict[str, float]] = {}
        limits: dict[str, float] = {}
        for name, weight, most, of, _, last in sessions:
            part = weight * self._factor(of, now - last)
            if part:
                limits[name] = max(limits.get(name, weight), most)
                for colour in _COUNTS_FOR[of]:
                    names = said.setdefault(colour, {})
                    names[name] = min(names.get(name, 0.0) + part, limits[name])
        return said

    def _factor(self, colour: str, age_s: float) -> float:
        """Return how much a report still counts, 0 to 1."""
        terms = self.terms
        if colour in EXCUSES:
            return float(age_s < terms.lasts_s[colour])
        if age_s <= terms.within_s:
            return 1.0
        left = 0.5 ** min((age_s - terms.within_s) / terms.half_life_s, 64)
        return left if left >= FADED else 0.0

    def _joined(self, sessions: Sequence[_Session], voice: Voice, colour: str, now: float) -> Sequence[_Session]:
        """Return the sessions with one more report: it joins those of its kind that it is near to."""
        if not sessions:
            return ((*voice, colour, now, now),)
        first = last = now
        kept: list[_Session] = []
        own: list[_Session] = []
        near_s = self.terms.session_s
        for session in sessions:
            if session[0] != voice.name or session[3] != colour:
                kept.append(session)
            elif session[4] - near_s < now < session[5] + near_s:
                first, last = min(first, session[4]), max(last, session[5])
            else:
                own.append(session)
        own.append((*voice, colour, first, last))
        own.sort(key=_last)
        return (*kept, *own[-SESSIONS:])


def _sessions(values: Sequence[Any]) -> list[_Session]:
    """Return the sessions of a case's values."""
    name, weight, most, colour, first, last = (values[i::6] for i in range(6))
    return list(zip(name, weight, most, colour, first, last, strict=True))


def _last(session: _Session) -> float:
    return session[5]


def _sorted(said: Mapping[str, float]) -> Parts:
    return tuple(sorted(said.items(), key=lambda part: (-part[1], part[0])))


def _sum(parts: Parts) -> float:
    return sum(part for _, part in parts)
