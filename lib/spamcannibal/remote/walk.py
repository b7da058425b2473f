"""Asks subjects about many addresses at once, within bounds: the loop behind the client.

At most WINDOW addresses are open at a time, whatever the source holds. Each subject has a lane: its addresses still to
be asked about, and its pace. A hit costs a second question, for its text.

A list without usable answers for long is set aside, unless it is the resolvers that are down: then the walk ends with
Unavailable, and what was not yielded is as if it had never been asked. A list that lists STREAK addresses in a row is
tested once more, and so is reverse DNS that has no names for as many.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import cast

from msgspec.structs import replace

from spamcannibal.remote.cache import Cache
from spamcannibal.remote.exchange import Outcome as Heard
from spamcannibal.remote.judge import choose_text
from spamcannibal.remote.pace import Pace
from spamcannibal.remote.query import TXT
from spamcannibal.remote.question import Question
from spamcannibal.remote.resolver import Resolver
from spamcannibal.remote.subjects import REVERSE, Answer, Subject
from spamcannibal.remote.verdict import Verdict
from spamcannibal.remote.watch import Watch

WINDOW = 1000
TURN_S = 0.2  # the longest wait before `stop` is asked again
STOPPED = "stopped"
STREAK = 100
COLLECT_AFTER = 100_000


class Work:
    """An address and its answers so far, one place for each lane that is asked; `left` are missing."""

    __slots__ = ("addr", "answers", "left")

    def __init__(self, addr: bytes, places: int) -> None:
        self.addr, self.left = addr, places
        self.answers: list[Answer | None] = [None] * places


class Lane:
    """One subject: what is still to be asked of it, and how fast. `number` is its place among the lists."""

    def __init__(self, number: int, subject: Subject, pace: Pace, timeout_s: float) -> None:
        self.number, self.subject, self.pace, self.timeout_s = number, subject, pace, timeout_s
        self.todo: deque[tuple[Work, int]] = deque()
        self.texts: deque[Question] = deque()
        self.failures = self.hits = 0  # in a row
        self.asked = 0

    def count(self) -> None:
        """Count a test."""
        self.asked += 1
        self.pace.count()

    def ask_about(self, addr: bytes, qtype: int, tag: Callable[[Heard], None]) -> Question:
        return Question(self.subject.name(addr), qtype, self.number, self.timeout_s, tag)


class Walk:
    """Lanes over one resolver. One source is walked at a time: a source must not begin another walk."""

    def __init__(
        self, resolver: Resolver, lanes: Sequence[Lane], watch: Watch, cache: Cache[Answer], failures: int
    ) -> None:
        self._resolver, self._lanes, self._watch, self._cache = resolver, lanes, watch, cache
        self._failures = failures
        self._finished: list[Work] = []
        self._suspects: list[tuple[Lane, str]] = []
        self._greedy: list[str] = []
        self._turns = 0
        self._is_walking = False

    def run(
        self, addrs: Iterable[bytes], lanes: Sequence[Lane], in_flight: int, stop: Callable[[], bool]
    ) -> Iterator[Work]:
        """Ask the lanes about all addresses, with so many questions in flight; yield each address once it is done."""
        if self._is_walking:
            raise RuntimeError("a walk inside of a walk")
        self._is_walking = True
        thresholds = gc.get_threshold()
        # Thousands of questions come and go, and none of them in a cycle: looking for cycles took a sixth of the time.
        gc.set_threshold(COLLECT_AFTER)
        try:
            yield from self._run(iter(addrs), lanes, in_flight, stop)
        finally:
            gc.set_threshold(*thresholds)
            self._is_walking = False
            self._drop()

    def _run(
        self, source: Iterator[bytes], lanes: Sequence[Lane], in_flight: int, stop: Callable[[], bool]
    ) -> Iterator[Work]:
        opened: set[Work] = set()
        while not stop():
            self._look_around(lanes)
            opened.update(self._open(addr, lanes) for addr in islice(source, WINDOW - len(opened)))
            self._feed(lanes, in_flight)
            finished, self._finished = self._finished, []
            opened.difference_update(finished)
            yield from finished
            if not finished and not opened:
                return
            if not finished:
                self._turn(self._wait_s(lanes))
        for work in opened:
            yield self._stopped(work, lanes)

    def ask_all(self, questions: Sequence[Question]) -> list[Heard]:
        """Ask questions of any kind and wait for all of their answers; whatever else is under way goes on."""
        heard: dict[int, Heard] = {}
        now = time.monotonic()
        for place, question in enumerate(questions):
            question.tag, question.is_paced = partial(heard.__setitem__, place), False
            if question.lane >= 0:
                self._lanes[question.lane].count()
            self._resolver.ask(question, now)
        while len(heard) < len(questions):
            self._turn(TURN_S)
        return [heard[place] for place in range(len(questions))]

    def look_around(self, zones: Sequence[str] = ()) -> None:
        """Test the resolvers, then the lists that are due, and these; Unavailable if no resolver answers."""
        self._resolver.use(self._watch.canary(self.ask_all))
        self._watch.test(self.ask_all, zones)

    def test_reverse(self) -> str:
        """Test reverse DNS; return why it is set aside, "" if it is not."""
        self._watch.reverse(self.ask_all)
        return self._watch.aside(REVERSE, 4)

    def _look_around(self, lanes: Sequence[Lane]) -> None:
        """Test what is due, and whoever has not given a usable answer for long."""
        if self._watch.is_due(time.time()):
            self.look_around()
        greedy, self._greedy = self._greedy, []
        is_reverse = any(lane.subject.zone == REVERSE for lane in lanes)
        if is_reverse and (REVERSE in greedy or self._watch.is_reverse_due(time.time())):
            self._watch.reverse(self.ask_all)
        elif greedy:
            self._watch.test(self.ask_all, greedy)
        suspects, self._suspects = self._suspects, []
        for lane, why in suspects:
            if not self._watch.is_canary_fresh():
                self._resolver.use(self._watch.canary(self.ask_all))
            if lane.subject.zone != REVERSE:
                told = f"no usable answer to {self._failures} questions in a row, to the last: {why}"
                self._watch.failing(lane.subject.zone, told)

    def _open(self, addr: bytes, lanes: Sequence[Lane]) -> Work:
        """Queue an address in the lanes that speak its family."""
        speaking = [lane for lane in lanes if lane.subject.speaks(addr)]
        work = Work(addr, len(speaking))
        for place, lane in enumerate(speaking):
            lane.todo.append((work, place))
        if not speaking:
            self._finished.append(work)
        return work

    def _feed(self, lanes: Sequence[Lane], in_flight: int) -> None:
        """Ask as much as all bounds allow, beginning with another lane each time."""
        now, wall = time.monotonic(), time.time()
        self._turns += 1
        for i in range(len(lanes)):
            lane = lanes[(i + self._turns) % len(lanes)]
            if not lane.todo and not lane.texts:
                continue
            if lane.pace.is_spent(wall):
                self._skip(lane, "the day's questions are used up")
                continue
            room = min(lane.pace.room(wall), in_flight - self._resolver.in_flight)
            while room > 0 and lane.texts:
                self._send(lane, lane.texts.popleft(), now)
                room -= 1
            while room > 0 and lane.todo:
                room -= self._begin(lane, *lane.todo.popleft(), now)

    def _begin(self, lane: Lane, work: Work, place: int, now: float) -> int:
        """Answer without asking, or ask; return the number of questions that it took."""
        subject, addr = lane.subject, work.addr
        why = self._watch.aside(subject.zone, len(addr))
        if why:
            self._settle(work, place, subject.unasked(f"set aside: {why}"))
            return 0
        kept = self._cache.get((lane.number, addr), now)
        if kept is not None:
            self._settle(work, place, kept)
            return 0
        self._send(lane, lane.ask_about(addr, subject.qtype, partial(self._heard, lane, work, place)), now)
        return 1

    def _send(self, lane: Lane, question: Question, now: float) -> None:
        lane.pace.take()
        lane.asked += 1
        self._resolver.ask(question, now)

    def _turn(self, wait_s: float) -> None:
        """Let the resolver work once, and hand on what it heard."""
        for question, heard in self._resolver.turn(wait_s):
            if question.is_paced:
                self._lanes[question.lane].pace.give()
            question.tag(heard)

    def _heard(self, lane: Lane, work: Work, place: int, heard: Heard) -> None:
        """Take the answer to a lane's question in."""
        read = lane.subject.read(heard)
        lane.failures = 0 if read.is_usable else lane.failures + 1
        if lane.failures >= self._failures:
            lane.failures = 0
            self._suspects.append((lane, read.answer.reason))
        lane.hits = lane.hits + 1 if read.is_hit else 0
        if lane.hits == STREAK:
            self._greedy.append(lane.subject.zone)
        if read.wants_text:
            tag = partial(self._told, lane, work, place, cast("Verdict", read.answer))
            lane.texts.append(lane.ask_about(work.addr, TXT, tag))
            return
        self._keep(lane, work, place, read.answer, read.ttl_s)

    def _told(self, lane: Lane, work: Work, place: int, verdict: Verdict, heard: Heard) -> None:
        """Take the text of a hit in; a hit without one stays a hit."""
        self._keep(lane, work, place, replace(verdict, text=choose_text(heard)), verdict.ttl_s)

    def _keep(self, lane: Lane, work: Work, place: int, answer: Answer, ttl_s: int) -> None:
        self._cache.put((lane.number, work.addr), answer, ttl_s, time.monotonic())
        self._settle(work, place, answer)

    def _settle(self, work: Work, place: int, answer: Answer) -> None:
        work.answers[place] = answer
        work.left -= 1
        if not work.left:
            self._finished.append(work)

    def _skip(self, lane: Lane, why: str) -> None:
        """Answer everything that waits in a lane without asking."""
        while lane.texts:
            lane.texts.popleft().tag(why)
        while lane.todo:
            work, place = lane.todo.popleft()
            self._settle(work, place, lane.subject.unasked(why))

    def _wait_s(self, lanes: Sequence[Lane]) -> float:
        """Return the time to the next turn of a lane that waits for one."""
        waits = (lane.pace.wait_s() for lane in lanes if lane.todo or lane.texts)
        return min((wait_s for wait_s in waits if wait_s > 0), default=TURN_S)

    def _stopped(self, work: Work, lanes: Sequence[Lane]) -> Work:
        """Give what is missing the answer that nobody asked."""
        speaking = (lane for lane in lanes if lane.subject.speaks(work.addr))
        for place, lane in enumerate(speaking):
            if work.answers[place] is None:
                work.answers[place] = lane.subject.unasked(STOPPED)
        return work

    def _drop(self) -> None:
        """Forget what is under way."""
        for lane in self._lanes:
            lane.todo.clear()
            lane.texts.clear()
            lane.pace.in_flight = 0
        self._finished.clear()
        self._suspects.clear()
        self._greedy.clear()
        self._resolver.abandon()
