"""Whom to believe: which resolvers are alive, which lists are set aside. Asks, remembers, and tells what changes."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from spamcannibal.addr import format_endpoint, parse_addr
from spamcannibal.errors import Unavailable
from spamcannibal.events import EventLog
from spamcannibal.remote import health
from spamcannibal.remote.exchange import Outcome
from spamcannibal.remote.health import Finding, Kind, Memory, Probe
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.query import PTR, TYPES, A, list_name, pack_name, pointer_name
from spamcannibal.remote.question import Question
from spamcannibal.remote.subjects import REVERSE
from spamcannibal.settings.remote import RemoteSettings

CANARY_LANE = -1
FRESH_S = 2.0
SIZES = {"ip4": 4, "ip6": 16}

AskAll = Callable[[Sequence[Question]], list[Outcome]]


class ResolverHealth(NamedTuple):
    """`why` is empty for one that is alive."""

    endpoint: str
    why: str


class ListHealth(NamedTuple):
    """A list in one family; `why` is empty unless it is set aside. Times are seconds since the epoch."""

    zone: str
    family: str
    why: str
    checked: float
    next_check: float


class Summary(NamedTuple):
    resolvers: tuple[ResolverHealth, ...]
    lists: tuple[ListHealth, ...]


class Watch:
    """Keeps the health of resolvers, (addr, port), and of lists, each with its zone as bytes, after the key if any."""

    def __init__(
        self,
        remote: RemoteSettings,
        endpoints: Sequence[tuple[bytes, int]],
        lists: Sequence[tuple[RemoteList, bytes]],
        memory: Memory,
        log: EventLog,
    ) -> None:
        self._remote, self._endpoints, self._lists, self._log = remote, endpoints, lists, log
        self.zones = [one.zone for one, _ in lists]
        self._states = {name: state for name, state in memory.states.items() if name.partition(" ")[0] in self.zones}
        self._asides: dict[tuple[str, int], str] = {}
        self._resolvers: tuple[ResolverHealth, ...] = ()
        self._canary_at = self._canary_wall = self._next = 0.0
        self._reverse_why, self._reverse_at = "", 0.0

    def is_due(self, now: float) -> bool:
        """Tell whether it is time for the canary and `test`; `now` is seconds since the epoch."""
        return now >= self._next

    def is_canary_fresh(self) -> bool:
        """Tell whether the resolvers were tested a moment ago."""
        return bool(self._canary_at) and time.monotonic() - self._canary_at < FRESH_S

    def canary(self, ask_all: AskAll) -> list[int]:
        """Return the resolvers that find what always is there; Unavailable if there are none."""
        questions = []
        for server in range(len(self._endpoints)):
            for text in self._remote.canary:
                name, _, qtype = text.partition(" ")
                question = Question(pack_name(name), TYPES[qtype], CANARY_LANE, self._remote.timeout_s)
                question.server = server
                questions.append(question)
        whys = ["no answer" if self._remote.canary else "" for _ in self._endpoints]
        for question, outcome in zip(questions, ask_all(questions), strict=True):
            if not isinstance(outcome, str) and outcome.data:
                whys[question.server] = ""
            elif whys[question.server]:
                whys[question.server] = outcome if isinstance(outcome, str) else "finds nothing"
        self._canary_at, self._canary_wall = time.monotonic(), time.time()
        told = zip(self._endpoints, whys, strict=True)
        self._resolvers = tuple(ResolverHealth(format_endpoint(*endpoint), why) for endpoint, why in told)
        usable = [server for server, why in enumerate(whys) if not why]
        if not usable:
            reasons = "; ".join(f"{one.endpoint}: {one.why}" for one in self._resolvers)
            names = ", ".join(self._remote.canary)
            cure = "until one does, nobody is judged: mend it, or name another (remote.canary is what it must find)"
            raise Unavailable(f"remote.resolvers: none finds any of {names} ({reasons}); {cure}")
        return usable

    def test(self, ask_all: AskAll, zones: Sequence[str] = ()) -> None:
        """Ask these lists, and all that are due, about their test points, and take in what they answer."""
        questions, asked = [], []
        lanes = {one.zone: lane for lane, (one, _) in enumerate(self._lists)}
        now = time.time()
        for one, suffix, family in self._families():
            if one.zone not in zones and self._due_at(one.zone, family, now) > now:
                continue
            for probe in health.probes(one, family, secrets.token_bytes(16)):
                timeout_s = one.timeout_s or self._remote.timeout_s
                questions.append(Question(list_name(probe.addr, suffix), A, lanes[one.zone], timeout_s))
                asked.append((one.zone, family, probe))
        told: dict[tuple[str, str], list[tuple[Probe, Outcome]]] = {}
        for (zone, family, probe), outcome in zip(asked, ask_all(questions), strict=True):
            told.setdefault((zone, family), []).append((probe, outcome))
        for (zone, family), answers in told.items():
            self._take(zone, family, health.examine(answers))
        self._plan()

    def is_reverse_due(self, now: float) -> bool:
        """Tell whether it is time for `reverse`; `now` is seconds since the epoch."""
        wait_s = self._remote.health_retry_s if self._reverse_why else self._remote.health_interval_s
        return not 0 <= now - self._reverse_at < wait_s

    def reverse(self, ask_all: AskAll) -> None:
        """Set reverse DNS aside if it does not have the names that always are there: then none missing means none."""
        known = self._remote.reverse_canary
        names = [pointer_name(parse_addr(text)) for text in known]
        outcomes = ask_all([Question(name, PTR, CANARY_LANE, self._remote.timeout_s) for name in names])
        self._reverse_at, why = time.time(), ""
        if known and all(isinstance(outcome, str) or not outcome.data for outcome in outcomes):
            said = next((outcome for outcome in outcomes if isinstance(outcome, str)), "says that there are none")
            why = f"finds no name of {', '.join(known)}, which have one: {said}"
        if why and not self._reverse_why:
            self._log.emit("REMOTE_ASIDE", zone=REVERSE, why=why)
        elif self._reverse_why and not why:
            self._log.emit("REMOTE_BACK", zone=REVERSE)
        self._reverse_why = why
        self._plan()

    def aside(self, zone: str, size: int) -> str:
        """Return why a list is set aside for addresses of so many bytes, "" if it is not."""
        return self._asides.get((zone, size), "")

    def failing(self, zone: str, why: str) -> None:
        """Set a list aside that gave no usable answer for long, until its next test."""
        for one, _, family in self._families():
            if one.zone == zone:
                self._take(zone, family, Finding(Kind.UNSURE, why))
        self._plan()

    def memory(self) -> Memory:
        """Return what should last."""
        return Memory(states=dict(self._states))

    def summary(self) -> Summary:
        """Return what is known."""
        rows = []
        for one, _, family in self._families():
            state = self._states.get(f"{one.zone} {family}")
            due = health.due_at(state, self._remote.health_interval_s, self._remote.health_retry_s)
            why = self.aside(one.zone, SIZES[family])
            rows.append(ListHealth(one.zone, family, why, state.checked if state else 0.0, due))
        return Summary(self._resolvers, tuple(rows))

    def _take(self, zone: str, family: str, finding: Finding) -> None:
        """Take a finding in, and tell if the list goes or comes back by it."""
        name = f"{zone} {family}"
        was = self._states.get(name)
        state = health.step(was, finding, self._remote.health_passes, time.time())
        self._states[name] = state
        if state.is_aside and not (was and was.is_aside):
            self._log.emit("REMOTE_ASIDE", zone=zone, family=family, why=state.why)
        elif was and was.is_aside and not state.is_aside:
            self._log.emit("REMOTE_BACK", zone=zone, family=family)

    def _plan(self) -> None:
        """Note what is set aside, and when the next test is due."""
        families = list(self._families())
        states = {(one.zone, SIZES[family]): self._states.get(f"{one.zone} {family}") for one, _, family in families}
        self._asides = {key: state.why for key, state in states.items() if state is not None and state.is_aside}
        if self._reverse_why:
            self._asides |= {(REVERSE, size): self._reverse_why for size in SIZES.values()}
        now = time.time()
        dues = [self._due_at(one.zone, family, now) for one, _, family in families]
        self._next = min([self._canary_wall + self._remote.health_interval_s, *dues])

    def _due_at(self, zone: str, family: str, now: float) -> float:
        state = self._states.get(f"{zone} {family}")
        # A clock that was set back must not leave a list untested for long.
        known = state if state is not None and state.checked <= now else None
        return health.due_at(known, self._remote.health_interval_s, self._remote.health_retry_s)

    def _families(self) -> Iterable[tuple[RemoteList, bytes, str]]:
        for one, suffix in self._lists:
            for family in one.families:
                yield one, suffix, family
