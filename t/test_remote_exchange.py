"""Tries, waits and matching of questions by the test's own clock; the walk's bounds by a resolver that waits."""

import io
import itertools
from collections.abc import Callable, Iterator

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.events import EventLog
from spamcannibal.remote.cache import Cache
from spamcannibal.remote.exchange import STRIKES, Exchange
from spamcannibal.remote.health import Memory
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.pace import Pace
from spamcannibal.remote.query import A, pack_name
from spamcannibal.remote.question import Datagram, Question, Terms
from spamcannibal.remote.subjects import Answer, ListSubject
from spamcannibal.remote.verdict import Outcome, Verdict
from spamcannibal.remote.walk import WINDOW, Lane, Walk
from spamcannibal.remote.watch import Watch
from spamcannibal.remote.wire import Reply
from spamcannibal.settings.remote import RemoteSettings

NAME = pack_name("7.2.0.192.bl.test")


def counting_noise() -> Callable[[int], bytes]:
    """Bytes that never repeat, so that ids do not either."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(max(count, 2), "little")[:count]


def exchange(servers: int = 1, **terms: object) -> Exchange:
    return Exchange(Terms(servers, **terms), counting_noise(), lambda server: server)  # type: ignore[arg-type]


def question(timeout_s: float = 10.0, lane: int = 0) -> Question:
    return Question(NAME, A, lane, timeout_s)


def sent(one: Exchange) -> list[Datagram]:
    """What was sent since the last look."""
    out, one.out = one.out, []
    return out


def reply(datagram: Datagram, rcode: int = 3, code: str = "") -> bytes:
    made = dnslib.DNSRecord.parse(datagram.data).reply()
    made.header.rcode = rcode
    if code:
        made.add_answer(dnslib.RR(made.q.qname, rdata=dnslib.A(code), ttl=60))
    return bytes(made.pack())


def hear(one: Exchange, datagram: Datagram, now: float, **how: object) -> None:
    one.heard(datagram.port, reply(datagram, **how), now)  # type: ignore[arg-type]


def test_a_question_is_sent_again_after_waits_that_double_and_ends_at_its_time() -> None:
    one, asked = exchange(tries=4, retry_s=1.0), question(timeout_s=20.0)
    one.ask(asked, 0.0)
    times = []
    while not one.done:
        due = one.next_due()
        assert due is not None
        times.append(due)
        one.tick(due)
    assert times == [1.0, 3.0, 7.0, 20.0]
    assert len(sent(one)) == 4 and one.done == [(asked, "timeout")]
    assert one.in_flight == 0 and one.next_due() is None


def test_no_wait_reaches_beyond_the_questions_time() -> None:
    one = exchange(tries=16, retry_s=1.0)
    one.ask(question(timeout_s=2.5), 0.0)
    for now in (1.0, 2.5):
        assert one.next_due() == now
        one.tick(now)
    assert [why for _, why in one.done] == ["timeout"]


def test_waits_follow_the_round_trips_of_a_list_and_not_of_another() -> None:
    one = exchange(retry_s=1.0)
    for _ in range(20):
        one.ask(question(lane=1), 0.0)
        hear(one, sent(one)[0], 0.05)
    one.ask(question(lane=1), 10.0)
    assert one.next_due() == pytest.approx(10.1)
    one.abandon()
    one.ask(question(lane=2), 10.0)
    assert one.next_due() == 11.0


def test_every_try_has_another_id_and_an_answer_to_any_of_them_counts_once() -> None:
    one, asked = exchange(), question()
    one.ask(asked, 0.0)
    one.tick(1.0)
    first, second = sent(one)
    assert first.data[:2] != second.data[:2]
    hear(one, first, 1.5, rcode=0, code="127.0.0.2")
    hear(one, second, 1.6, rcode=0, code="127.0.0.3")
    assert one.done == [(asked, Reply(0, (b"\x7f\0\0\2",), 60))]
    assert one.counters["stray"] == 1


def test_an_answer_at_another_port_or_twice_is_none() -> None:
    one = exchange()
    one.ask(question(), 0.0)
    (datagram,) = sent(one)
    one.heard(5, reply(datagram), 0.1)
    assert one.done == [] and one.counters["stray"] == 1
    hear(one, datagram, 0.2)
    hear(one, datagram, 0.3)
    assert len(one.done) == 1 and one.counters["stray"] == 2


@pytest.mark.parametrize(("servers", "order"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2])])
def test_tries_go_round_the_servers(servers: int, order: list[int]) -> None:
    one = exchange(servers, tries=3)
    one.ask(question(timeout_s=100.0), 0.0)
    for now in (1.0, 3.0):
        one.tick(now)
    assert [datagram.server for datagram in sent(one)] == order


def test_an_error_moves_on_at_once_to_a_server_not_yet_asked_and_waits_before_the_next_round() -> None:
    one, asked = exchange(2, tries=3), question()
    one.ask(asked, 0.0)
    for _ in range(2):
        (datagram,) = sent(one)
        hear(one, datagram, 0.1, rcode=2)
    assert sent(one) == [] and one.next_due() is not None and one.next_due() > 0.5
    one.tick(3.0)
    (datagram,) = sent(one)
    hear(one, datagram, 3.1, rcode=2)
    assert one.done == [(asked, "SERVFAIL")] and one.counters["SERVFAIL"] == 3


def test_a_server_that_leaves_questions_unanswered_is_no_longer_the_first() -> None:
    one = exchange(2, tries=2)
    for _ in range(STRIKES):
        one.ask(question(), 0.0)
    one.tick(1.0)
    sent(one)
    one.ask(question(), 1.0)
    assert [datagram.server for datagram in sent(one)] == [1]


def test_only_usable_servers_are_asked_but_for_who_is_named() -> None:
    one = exchange(3)
    one.use([2])
    one.ask(question(), 0.0)
    named = question()
    named.server = 1
    one.ask(named, 0.0)
    assert [datagram.server for datagram in sent(one)] == [2, 1]


@pytest.mark.parametrize("rcode", [1, 4])
def test_who_does_not_know_edns_is_asked_without(rcode: int) -> None:
    one = exchange(2)
    one.ask(question(), 0.0)
    (datagram,) = sent(one)
    assert dnslib.DNSRecord.parse(datagram.data).ar
    hear(one, datagram, 0.1, rcode=rcode)
    (again,) = sent(one)
    assert not dnslib.DNSRecord.parse(again.data).ar


def test_a_question_that_goes_over_tcp_waits_for_that_alone() -> None:
    one, asked = exchange(), question()
    one.ask(asked, 0.0)
    (datagram,) = sent(one)
    data = bytearray(reply(datagram, rcode=0))
    data[2] |= 2
    one.heard(0, bytes(data), 0.1)
    assert one.streams == [(asked, 0)] and one.next_due() == 10.0
    one.tick(5.0)
    assert sent(one) == []
    one.streamed(asked, reply(Datagram(0, 0, asked.sent), 0, "127.0.0.2"), 6.0)
    assert one.done == [(asked, Reply(0, (b"\x7f\0\0\2",), 60))]


def test_a_stream_that_fails_is_a_try_that_failed() -> None:
    one, asked = exchange(2, tries=2), question()
    one.ask(asked, 0.0)
    for now in (0.1, 0.3):
        (datagram,) = sent(one)
        data = bytearray(reply(datagram, rcode=0))
        data[2] |= 2
        one.heard(datagram.port, bytes(data), now)
        one.unstreamed(asked, "TCP: reset", now + 0.1)
    assert one.done == [(asked, "TCP: reset")]


def test_what_can_not_be_sent_and_who_is_not_there_are_tries_that_failed() -> None:
    one, first, second = exchange(2, tries=2), question(), question()
    one.ask(first, 0.0)
    one.unsent(sent(one)[0], "can't be sent: no route", 0.1)
    one.ask(second, 0.2)
    one.refused(0, "not there", 0.3)
    for datagram in sent(one):
        one.unsent(datagram, "can't be sent: no route", 0.4)
    assert {why for _, why in one.done} == {"can't be sent: no route"} and len(one.done) == 2


def test_what_is_abandoned_is_forgotten() -> None:
    one = exchange()
    one.ask(question(), 0.0)
    (datagram,) = sent(one)
    one.abandon()
    hear(one, datagram, 0.1)
    one.tick(100.0)
    assert (one.done, one.in_flight, one.next_due(), one.counters["stray"]) == ([], 0, None, 1)


@given(st.lists(st.tuples(st.integers(0, 7), st.binary(max_size=40), st.floats(0, 3)), max_size=60))
def test_whatever_comes_every_question_ends_once_and_in_time(steps: list[tuple[int, bytes, float]]) -> None:
    one, now = exchange(2, tries=3), 0.0
    asked = [question(timeout_s=5.0) for _ in range(5)]
    seen: list[Datagram] = []
    for each in asked:
        one.ask(each, now)
    for what, noise, later in steps:
        now += later
        one.tick(now)
        seen += sent(one)
        datagram = seen[len(noise) % len(seen)]
        if what == 0:
            one.heard(datagram.port, noise, now)
        elif what == 1:
            one.heard(datagram.port, datagram.data[:2] + b"\x80\0" + noise, now)
        elif what == 2:
            one.refused(datagram.port, "refused", now)
        elif what == 3:
            data = bytearray(reply(datagram, 0))
            data[2] |= 2
            one.heard(datagram.port, bytes(data), now)
        elif what == 4 and one.streams:
            one.streamed(one.streams.pop()[0], noise, now)
        else:
            hear(one, datagram, now, rcode=what)
    for _ in range(100):
        one.tick(now := now + 1.0)
    assert sorted(map(id, asked)) == sorted(id(ended) for ended, _ in one.done)
    assert one.in_flight == 0 and one.next_due() is None and not one._pending


class Waiting:
    """A resolver for the walk: it answers one question a turn, and notes how much it was given at once."""

    def __init__(self) -> None:
        self.waiting: list[Question] = []
        self.most = 0

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    def ask(self, question: Question, now: float) -> None:
        self.waiting.append(question)
        self.most = max(self.most, len(self.waiting))

    def turn(self, wait_s: float) -> Iterator[tuple[Question, Reply]]:
        if self.waiting:
            asked = self.waiting.pop()
            is_test = asked.name.startswith(b"\x012\x010\x010\x03127")
            yield asked, Reply(0, (b"\x7f\0\0\2",), 60) if is_test or asked.qtype != A else Reply(3)

    def use(self, servers: list[int]) -> None:
        pass

    def abandon(self) -> None:
        self.waiting.clear()


def walk_over(resolver: Waiting, lists: int, in_flight: int) -> tuple[Walk, list[Lane]]:
    remote = RemoteSettings(canary=())
    subjects = [ListSubject(RemoteList(f"l{n}.test", any=True)) for n in range(lists)]
    lanes = [Lane(n, subject, Pace(in_flight, 0, 0, 0, 0.0), 5.0) for n, subject in enumerate(subjects)]
    known = [(RemoteList(subject.zone, any=True), subject.suffix) for subject in subjects]
    watch = Watch(remote, [(b"\x7f\0\0\1", 53)], known, Memory(), EventLog(io.StringIO()))
    cache: Cache[Answer] = Cache(0, 1.0)
    return Walk(resolver, lanes, watch, cache, 20), lanes  # type: ignore[arg-type]


def test_questions_in_flight_are_bounded_altogether_and_for_each_list() -> None:
    addrs = [bytes((198, 51, 100, n)) for n in range(100)]
    for lists, of_list, altogether, most in ((3, 5, 100, 15), (3, 50, 20, 20), (1, 4, 100, 9)):
        resolver = Waiting()
        walk, lanes = walk_over(resolver, lists, of_list)
        done = list(walk.run(addrs, lanes, altogether, lambda: False))
        assert sorted(work.addr for work in done) == addrs
        assert resolver.most <= max(most, 3 * lists), resolver.most  # the tests of lists are three questions each
        for work in done:
            assert all(isinstance(one, Verdict) and one.outcome is Outcome.CLEAR for one in work.answers)


def test_the_source_is_read_no_further_ahead_than_the_window() -> None:
    resolver = Waiting()
    walk, lanes = walk_over(resolver, 1, 10)
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for number in range(3 * WINDOW):
            taken += 1
            yield number.to_bytes(4, "big")

    for done, _ in enumerate(walk.run(source(), lanes, 10, lambda: False)):
        assert taken <= done + WINDOW + 10
    assert taken == 3 * WINDOW


def test_a_walk_that_is_left_forgets_what_is_under_way() -> None:
    resolver = Waiting()
    walk, lanes = walk_over(resolver, 2, 10)
    addrs = [bytes((198, 51, 100, n)) for n in range(50)]
    first = walk.run(addrs, lanes, 20, lambda: False)
    next(first)
    first.close()
    assert (resolver.waiting, [lane.pace.in_flight for lane in lanes]) == ([], [0, 0])
    assert len(list(walk.run(addrs, lanes, 20, lambda: False))) == 50


def test_a_source_can_not_begin_another_walk() -> None:
    walk, lanes = walk_over(Waiting(), 1, 10)

    def source() -> Iterator[bytes]:
        yield from (work.addr for work in walk.run([bytes((198, 51, 100, 1))], lanes, 10, lambda: False))

    with pytest.raises(RuntimeError, match="a walk inside of a walk"):
        list(walk.run(source(), lanes, 10, lambda: False))
