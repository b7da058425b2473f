"""The client for remote lists and reverse DNS, put together from settings and lists.

    with Client(settings.remote, chosen(settings.remote), log) as client:
        for addr, verdicts in client.stream(addrs): ...

What is learnt about the health of lists, and the questions asked today, are remembered in a file when it closes.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self, cast

from spamcannibal.decode import shown
from spamcannibal.errors import ConfigError
from spamcannibal.events import EventLog
from spamcannibal.remote import catalogue, statefile
from spamcannibal.remote.cache import Cache
from spamcannibal.remote.health import Memory
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.pace import DAY_S, Pace
from spamcannibal.remote.question import Terms
from spamcannibal.remote.resolver import Resolver
from spamcannibal.remote.subjects import Answer, ListSubject, ReverseSubject
from spamcannibal.remote.verdict import Pointers, Verdict
from spamcannibal.remote.walk import Lane, Walk, Work
from spamcannibal.remote.watch import Summary, Watch
from spamcannibal.settings.remote import RemoteSettings

# What a working network does not bring about, but for an answer so late that its id is another question's.
ODD = ("wrong question", "other case", "oversize", "malformed")
ODD_SHARE = 0.001

Progress = Callable[[int], None]


class Client:
    """Asks. `stop` makes every walk end early: what is not known by then is UNKNOWN, "stopped".

    Every method that asks tests the health of what is due first, and raises Unavailable if no resolver answers.
    """

    def __init__(
        self,
        remote: RemoteSettings,
        lists: Sequence[RemoteList],
        log: EventLog,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._remote, self._log, self._stop = remote, log, stop
        self._state_file = Path(remote.state_file)
        memory = self._remembered()
        subjects = [ListSubject(one, catalogue.read_key(one)) for one in lists]
        self._lanes = [
            Lane(number, subjects[number], self._pace(one, memory), one.timeout_s or remote.timeout_s)
            for number, one in enumerate(lists)
        ]
        pace = Pace(remote.list_in_flight, 0, 0, 0, time.time())
        self._reverse = Lane(len(lists), ReverseSubject(), pace, remote.timeout_s)
        endpoints = catalogue.resolvers(remote)
        suffixes = [(one, subject.suffix) for one, subject in zip(lists, subjects, strict=True)]
        self._watch = Watch(remote, endpoints, suffixes, memory, log)
        terms = Terms(len(endpoints), remote.tries, remote.retry_s, remote.mixed_case)
        longest_s = max(lane.timeout_s for lane in (*self._lanes, self._reverse))
        self._resolver = Resolver(endpoints, terms, remote.tcp_connections, longest_s)
        cache: Cache[Answer] = Cache(remote.cache_entries, remote.cache_limit_s)
        self._walk = Walk(self._resolver, [*self._lanes, self._reverse], self._watch, cache, remote.failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remember what was found, tell which odd replies came, and close the sockets."""
        self._remember()
        odd = {name.replace(" ", "_"): self.counters[name] for name in ODD if self.counters[name]}
        if sum(odd.values()) > ODD_SHARE * self.counters["asked"]:
            self._log.emit("REMOTE_ODD", asked=self.counters["asked"], **odd)
        self._resolver.close()

    @property
    def zones(self) -> list[str]:
        """The lists' zones, in their order."""
        return [lane.subject.zone for lane in self._lanes]

    @property
    def counters(self) -> Counter[str]:
        """Questions asked, and by their names the faults that were met."""
        return self._resolver.counters

    def healthy(self, force: bool = False, zones: Sequence[str] = ()) -> Summary:
        """Test the resolvers, the lists that are due, and these, or all."""
        self._walk.look_around(self.zones if force else zones)
        return self._watch.summary()

    def test_reverse(self) -> str:
        """Test reverse DNS after `healthy`; return why its word is not believed, "" if it is."""
        return self._walk.test_reverse()

    def summary(self) -> Summary:
        """Return what is known, without asking."""
        return self._watch.summary()

    def verdicts(
        self, addrs: Iterable[bytes], zones: Sequence[str] | None = None, progress: Progress | None = None
    ) -> dict[bytes, list[Verdict]]:
        """Return for each address what the lists say that speak its family, in the lists' order."""
        return dict(self.stream(dict.fromkeys(addrs), zones, progress))

    def stream(
        self, addrs: Iterable[bytes], zones: Sequence[str] | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[bytes, list[Verdict]]]:
        """Yield what `verdicts` returns, each address as soon as it is done, in any order.

        The source is read as room comes free: at most 1,000 addresses ahead of what is done.
        """
        for work in self._run(addrs, self._named(zones), progress):
            yield work.addr, cast("list[Verdict]", work.answers)

    def pointers(self, addrs: Iterable[bytes], progress: Progress | None = None) -> dict[bytes, Pointers]:
        """Return the names of addresses."""
        done = self._run(dict.fromkeys(addrs), [self._reverse], progress)
        return {work.addr: cast("Pointers", work.answers[0]) for work in done}

    def _run(self, addrs: Iterable[bytes], lanes: Sequence[Lane], progress: Progress | None) -> Iterator[Work]:
        for work in self._walk.run(addrs, lanes, self._remote.in_flight, self._stop):
            yield work
            if progress is not None:
                progress(1)

    def _named(self, zones: Sequence[str] | None) -> Sequence[Lane]:
        """Return the lanes of zones, all for None; in the lists' order."""
        if zones is None:
            return self._lanes
        missing = [zone for zone in zones if zone not in self.zones]
        if missing:
            known = ", ".join(self.zones) or "none"
            raise ConfigError(f"remote.lists: no such list: {shown(missing[0])}, want one of {known}")
        return [lane for lane in self._lanes if lane.subject.zone in zones]

    def _pace(self, one: RemoteList, memory: Memory) -> Pace:
        now = time.time()
        spent = memory.spent.get(one.zone)
        before = spent.count if spent is not None and spent.day == int(now // DAY_S) else 0
        return Pace(one.in_flight or self._remote.list_in_flight, one.per_s, one.per_day, before, now)

    def _remembered(self) -> Memory:
        try:
            return statefile.load(self._state_file)
        except OSError as error:
            self._log.emit("REMOTE_STATE", path=str(self._state_file), error=error.strerror)
            return Memory()

    def _remember(self) -> None:
        asked = {lane.subject.zone: lane.asked for lane in self._lanes if lane.asked}
        try:
            statefile.save(self._state_file, self._watch.memory(), asked, time.time())
        except OSError as error:
            self._log.emit("REMOTE_STATE", path=str(self._state_file), error=error.strerror)
