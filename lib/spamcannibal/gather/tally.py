"""Reports of several mail servers -> whether an address is listed, in which colour, and why. Pure.

    tally.hear(report, voice, now)      -> a Decision if the reports so far now say something new, else None
    tally.settle(key, payer)            what was decided happened, and whom it was charged to
    tally.retract(key)                  it did not happen
    tally.explain(key, now)             -> an Account: what counts for each colour, and what is lacking
    tally.named(name, now)              -> how many addresses a reporter named lately

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

Room is for `addresses` words, a word being all that one reporter says of one key: past that, whoever has most words
loses the one that he said longest ago. So n reporters have room for `addresses`/n words each, whatever the others do.
For one key and reporter there are at most SESSIONS sessions of a colour, each with the first NOTE_LIMIT characters of
its reason. The order in which reports come does not matter, only their times (but for what these bounds forget).
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import exp2
from typing import Any

from spamcannibal.gather.decision import EXCUSES, ORDER, Account, Decision, Parts, Terms, Voice
from spamcannibal.gather.line import Report

SESSIONS = 16
NOTE_LIMIT = 80  # of a reason, in the text of a listing that several reporters made
NAMED_HALF_LIFE_S = 3600.0
FADED = 1 / 16
SLACK = 1e-9
_COUNTS_FOR = {colour: (colour,) for colour in ORDER} | {"black": ("black", "brown")}

_Said = Mapping[str, Mapping[str, float]]
# Reports of one colour by one reporter, none further than session_s from the next: who, his weight and most, the
# colour, first and last time, and the newest reason.
_Session = tuple[str, float, float, str, float, float, str]
# What is kept of a key: the colour decided last, until when, whom it was charged to, and the seven values of each
# session. All of it is one flat tuple of plain values, since these the garbage collector lets go of at once; to look
# through 100,000 of anything else it would stop everything for 30 ms.
_Case = tuple[Any, ...]
_NEW: _Case = ("", 0.0, "")
_ONE_SESSION = len(_NEW) + 7  # values of a case that has no more


class _Reporter:
    """The keys of one reporter's words, the longest silent first; and how many he named lately, as of when."""

    __slots__ = ("named", "since", "words")

    def __init__(self, now: float) -> None:
        self.words: OrderedDict[bytes, None] = OrderedDict()
        self.named = 0.0
        self.since = now

    def lately(self, now: float) -> float:
        """Return how many keys he named lately, by now."""
        return self.named * exp2(-max(0.0, now - self.since) / NAMED_HALF_LIFE_S)

    def name(self, key: bytes, now: float) -> None:
        """Take a key that he names for the first time."""
        self.words[key] = None
        self.named, self.since = self.lately(now) + 1.0, now


class Tally:
    """The cases by key, and the words by reporter."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.forgotten = 0
        self._cases: dict[bytes, _Case] = {}
        self._reporters: dict[str, _Reporter] = {}
        self._words = 0

    def __len__(self) -> int:
        return len(self._cases)

    def hear(self, report: Report, voice: Voice, now: float) -> Decision | None:
        """Count a report; return what it decides, if that is new."""
        key = report.key
        self._take(key, voice.name, now)
        decided, until, payer, *rest = self._cases.get(key, _NEW)
        before = _sessions(rest) if rest else []
        sessions = self._joined(before, voice, report, now)
        said = self._said(sessions, now)
        colour = self._colour(said)
        peer = self._needed(colour, said) if self.terms.peers else ""
        is_ours_now = bool(self.terms.peers and not peer and self._needed(colour, self._said(before, now)))
        if not colour or (self._is_known(colour, decided, until - now) and not is_ours_now):
            self._cases[key] = (decided, until, payer, *chain.from_iterable(sessions))
            return None
        paid = payer if until > now else ""
        until = now + self.terms.lasts_s[colour]
        self._cases[key] = (colour, until, paid, *chain.from_iterable(sessions))
        wanted, parts = self.terms.weights[colour], _sorted(said[colour])
        weight, reasons = _sum(parts), _reasons(sessions, colour)
        return Decision(key, colour, until, voice.name, report.reason, weight, wanted, parts, reasons, peer, paid)

    def settle(self, key: bytes, payer: str) -> None:
        """Take it that what was decided of a key last is charged to a reporter."""
        case = self._cases.get(key)
        if case is not None:
            self._cases[key] = (case[0], case[1], payer, *case[3:])

    def named(self, name: str, now: float) -> float:
        """Return how many keys a reporter named that he had not named before; an hour later each counts half."""
        reporter = self._reporters.get(name)
        return reporter.lately(now) if reporter else 0.0

    def retract(self, key: bytes) -> None:
        """Take it that what was decided of a key last did not happen."""
        case = self._cases.get(key)
        if case is not None:
            self._cases[key] = (*_NEW, *case[3:])

    def explain(self, key: bytes, now: float) -> Account | None:
        """Return why a key has its colour, or what it lacks; None for one that nobody reported, or long ago."""
        case = self._cases.get(key)
        if case is None:
            return None
        decided, until, _, *rest = case
        said = self._said(_sessions(rest), now)
        parts = {colour: _sorted(said.get(colour, {})) for colour in ORDER}
        weights = {colour: (_sum(parts[colour]), self.terms.weights[colour]) for colour in ORDER}
        return Account(self._colour(said), decided if until > now else "", until, weights, parts)

    def _take(self, key: bytes, name: str, now: float) -> None:
        """Have room for a reporter's word about a key, which is the newest of his now."""
        reporter = self._reporters.get(name)
        if reporter is None:
            reporter = self._reporters[name] = _Reporter(now)
        if key in reporter.words:
            reporter.words.move_to_end(key)
            return
        reporter.name(key, now)
        self._words += 1
        while self._words > self.terms.addresses:
            self._forget(name)

    def _forget(self, newest: str) -> None:
        """Forget a word: of whoever has most, the one he said longest ago, but not the newest of all, which is new."""
        name, most = newest, len(self._reporters[newest].words)
        for other, reporter in self._reporters.items():
            if len(reporter.words) > most or (name == newest and len(reporter.words) == most):
                name, most = other, len(reporter.words)
        key, _ = self._reporters[name].words.popitem(last=False)
        self._words -= 1
        self.forgotten += 1
        case = self._cases[key]
        others = [session for session in _sessions(case[3:]) if session[0] != name] if len(case) > _ONE_SESSION else ()
        if others:
            self._cases[key] = (*case[:3], *chain.from_iterable(others))
        else:
            del self._cases[key]

    def _is_known(self, colour: str, decided: str, left_s: float) -> bool:
        """Tell whether a colour was decided, and will last for a while yet."""
        if decided == "black" and colour == "brown":
            return left_s > 0
        return decided == colour and left_s > self.terms.lasts_s[colour] / 2

    def _colour(self, said: _Said) -> str:
        wanted = self.terms.weights
        for colour in ORDER:
            if colour in said and sum(said[colour].values()) >= wanted[colour] - SLACK:
                return colour
        return ""

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
        if len(sessions) == 1:
            name, weight, _, of, _, last, _ = sessions[0]
            part = weight * self._factor(of, now - last)
            return {colour: {name: part} for colour in _COUNTS_FOR[of]} if part else {}
        said: dict[str, dict[str, float]] = {}
        limits: dict[str, float] = {}
        for name, weight, most, of, _, last, _ in sessions:
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

    def _joined(self, sessions: Sequence[_Session], voice: Voice, report: Report, now: float) -> Sequence[_Session]:
        """Return the sessions with one more report: it joins those of its kind that it is near to."""
        note = report.reason[:NOTE_LIMIT]
        if not sessions:
            return ((*voice, report.colour, now, now, note),)
        first = last = noted = now
        kept: list[_Session] = []
        own: list[_Session] = []
        near_s = self.terms.session_s
        for session in sessions:
            name, _, _, colour, began, ended, reason = session
            if name != voice.name or colour != report.colour:
                kept.append(session)
            elif began - near_s < now < ended + near_s:
                first, last = min(first, began), max(last, ended)
                if reason and (not note or ended > noted):
                    note, noted = reason, ended
            else:
                own.append(session)
        own.append((*voice, report.colour, first, last, note))
        own.sort(key=_last)
        return (*kept, *own[-SESSIONS:])


def _sessions(values: Sequence[Any]) -> list[_Session]:
    """Return the sessions of a case's values."""
    name, weight, most, colour, first, last, reason = (values[i::7] for i in range(7))
    return list(zip(name, weight, most, colour, first, last, reason, strict=True))


def _reasons(sessions: Iterable[_Session], colour: str) -> dict[str, str]:
    """Return the newest reason of each reporter who gave one for a colour."""
    found = [session for session in sessions if session[6] and colour in _COUNTS_FOR[session[3]]]
    return {session[0]: session[6] for session in sorted(found, key=_last)} if found else {}


def _last(session: _Session) -> float:
    return session[5]


def _sorted(said: Mapping[str, float]) -> Parts:
    parts = tuple(said.items())
    return parts if len(parts) < 2 else tuple(sorted(parts, key=lambda part: (-part[1], part[0])))


def _sum(parts: Parts) -> float:
    return sum(part for _, part in parts)
