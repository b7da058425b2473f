"""Sharing between sites: what is told, that nothing comes back as an echo, and real sites that tell each other."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gather_kit import Gather, environment, gathering
from live.nets import wait_for
from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.errors import Unavailable
from spamcannibal.gather.client import say
from spamcannibal.gather.decision import ORDER, Decision, Terms, Voice
from spamcannibal.gather.line import Report
from spamcannibal.gather.share import Selection
from spamcannibal.gather.sharer import Manner, Sharer
from spamcannibal.gather.tally import Tally
from spamcannibal.gather.writer import new_listing
from spamcannibal.record import EXCLUDED, HEARSAY_CODE, PROVEN_CODE, PUBLISHED, SHADOW, Action, Change, Mode
from spamcannibal.store.batch import NewListing
from spamcannibal.store.reports import Done, list_reported
from spamcannibal.store.stores import Store
from storekit import open_store
from test_gather import make_certificate

KEY = bytes((203, 0, 113, 9))
NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
WEIGHTS = dict.fromkeys(ORDER, 1.0) | {"black": 2.0}
TERMS = Terms(WEIGHTS, dict.fromkeys(ORDER, DAY), peers=frozenset(("p", "q")))


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def emit(self, verb: str, /, **fields: object) -> None:
        self.lines.append((verb, fields))


def change(source: str, **fields: object) -> Change:
    made: dict[str, object] = {"seq": 1, "time_ms": 0, "action": Action.LIST, "key": KEY, "code": PROVEN_CODE}
    made |= {"text": "why", "source": source, "expiry_ms": 0, "flags": PUBLISHED, "mode": Mode.DEFAULT, **fields}
    return Change(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "is_told"),
    [
        (change("robot:0123"), True),
        (change("trap:main"), True),
        (change("gather:mx1"), True),
        (change("robot:0123", action=Action.AMEND, expiry_ms=int(NOW * 1000) + 1), True),
        (change("admin:root"), False),
        (change("peer:site2"), False),
        (change("peer:site2", flags=0), False),
        (change("gather:import karma.log"), False),
        (change("blcheck:bl.example.org", flags=0), False),
        (change("import:list.txt"), False),
        (change("undo:7"), False),
        (change("", flags=PUBLISHED), False),
        (change("robot:0123", flags=0), False),
        (change("robot:0123", action=Action.UNLIST), False),
        (change("robot:0123", expiry_ms=int(NOW * 1000)), False),
        (change("gather:mx1", flags=PUBLISHED | EXCLUDED, code=bytes((127, 0, 0, 1))), False),
        (change("gather:mx1", flags=PUBLISHED | SHADOW, code=bytes((127, 0, 0, 4))), False),
    ],
    ids=lambda value: f"{value.source}-{value.flags}-{value.action.name}" if isinstance(value, Change) else str(value),
)
def test_only_what_was_found_out_here_and_is_in_force_is_told(what: Change, is_told: bool) -> None:
    assert Selection().report(what, NOW) == (Report("black", KEY, "why") if is_told else None)


def test_what_an_administrator_lists_and_other_colours_are_told_if_asked() -> None:
    assert Selection(kinds=("admin",)).report(change("admin:root"), NOW) == Report("black", KEY, "why")
    white = change("gather:mx1", flags=PUBLISHED | EXCLUDED, code=bytes((127, 0, 0, 1)))
    assert Selection(colours=("white",)).report(white, NOW) == Report("white", KEY, "why")


def hear(tally: Tally, *said: tuple[str, float], colour: str = "black", at: float = 0) -> list[Decision | None]:
    return [tally.hear(Report(colour, KEY), Voice(name, weight, weight), NOW + at) for name, weight in said]


@pytest.mark.parametrize(
    ("said", "peer"),
    [
        ([("p", 2.0)], "p"),
        ([("a", 1.0), ("p", 1.0)], "p"),
        ([("p", 0.5), ("q", 0.7), ("a", 1.0)], "q"),
        ([("a", 1.0), ("b", 1.0)], ""),
        ([("p", 1.9), ("b", 2.0)], ""),
    ],
)
def test_a_decision_names_a_peer_whose_word_it_needs(said: list[tuple[str, float]], peer: str) -> None:
    decision = hear(Tally(TERMS), *said)[-1]
    assert decision is not None and decision.peer == peer
    made = new_listing(decision)
    if peer:
        assert (made.source, made.flags, made.code) == (f"peer:{peer}", 0, HEARSAY_CODE)
    else:
        assert (made.source, made.flags, made.code) == (f"gather:{decision.by}", PUBLISHED, PROVEN_CODE)


def test_a_peers_white_excuses_unpublished() -> None:
    (decision,) = hear(Tally(TERMS), ("p", 1.0), colour="white")
    assert decision is not None
    assert new_listing(decision).flags == EXCLUDED and new_listing(decision).source == "peer:p"


def test_what_needed_a_peer_becomes_ours_with_the_report_that_makes_our_own_word_enough() -> None:
    tally = Tally(TERMS)
    decisions = hear(tally, ("p", 2.0), ("a", 1.0), ("p", 2.0), ("b", 1.0), ("c", 1.0), ("p", 2.0))
    assert [decision.peer if decision else None for decision in decisions] == ["p", None, None, "", None, None]


def test_a_peer_changes_no_first_hand_listing_but_to_excuse_it_and_proof_stands_above_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db")
    blacks = {peer: new_listing(d) for peer in ("p", "") if (d := hear(Tally(TERMS), (peer or "a", 2.0))[-1])}
    (white,) = hear(Tally(TERMS), ("p", 1.0), colour="white")
    assert white is not None

    def source() -> str:
        listing = store.get_key(KEY)
        found = store.change(listing.seq) if listing else None
        return found.source if found else ""

    assert list_reported(store, [blacks["p"]], NOW) == [Done.LISTED] and source() == "peer:p"
    assert list_reported(store, [blacks[""]], NOW) == [Done.LISTED] and source() == "gather:a"
    assert list_reported(store, [blacks["p"]], NOW) == [Done.KEPT] and source() == "gather:a"
    assert list_reported(store, [new_listing(white)], NOW) == [Done.LISTED] and source() == "peer:p"
    assert list_reported(store, [blacks[""]], NOW) == [Done.LISTED] and source() == "gather:a"
    store.list([NewListing(KEY, source="robot:0123", flags=PUBLISHED)], NOW)
    assert list_reported(store, [blacks["p"], new_listing(white)], NOW) == [Done.KEPT] * 2
    store.close()


SITES = range(3)
LINKS = {"ring": {0: (1,), 1: (2,), 2: (0,)}, "mesh": {i: tuple(j for j in SITES if j != i) for i in SITES}}
STEPS = st.lists(st.tuples(st.sampled_from(SITES), st.sampled_from("ab"), st.floats(1, 2 * HOUR)), max_size=25)


@settings(deadline=None)
@given(STEPS, st.sampled_from(sorted(LINKS)), st.sampled_from([1.0, 2.0]), st.sampled_from([HOUR, DAY]))
def test_no_echo_in_any_order_of_reports(
    steps: list[tuple[int, str, float]], links: str, peer_weight: float, lasts_s: float
) -> None:
    terms = Terms(WEIGHTS, dict.fromkeys(ORDER, lasts_s), peers=frozenset(map(str, SITES)))
    tallies, heard, told, now = [Tally(terms) for _ in SITES], [set[str]() for _ in SITES], 0, NOW
    for site, reporter, wait_s in steps:
        now += wait_s
        heard[site].add(reporter)
        queue = deque([(site, Voice(reporter, 1.0, 1.0))])
        while queue:
            at, voice = queue.popleft()
            decision = tallies[at].hear(Report("black", KEY), voice, now)
            if decision is None or new_listing(decision).source.startswith("peer:") or decision.colour != "black":
                continue
            assert heard[at] == {"a", "b"}, "first-hand without enough of our own"
            told += 1
            queue.extend((other, Voice(str(at), peer_weight, peer_weight)) for other in LINKS[links][at])
    assert told <= len(steps) * len(SITES)


class Bringer:
    """Answers as a listener would, or is away; what it is told."""

    def __init__(self, answer: str = "ok") -> None:
        self.answer = answer
        self.told: list[Report] = []

    def bring(self, reports: list[Report]) -> list[str]:
        if self.answer == "away":
            raise Unavailable("away")
        self.told += reports
        return [self.answer] * len(reports)


def listing(i: int, source: str = "trap:main", **fields: object) -> NewListing:
    return NewListing(bytes((203, 0, 113, i)), source=source, flags=PUBLISHED, text=str(i), **fields)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path / "db")
    yield made
    made.close()


def test_the_newest_change_of_what_is_listed_is_told_once_and_in_order(store: Store) -> None:
    for i in range(5):
        store.list([listing(i)], time.time())
    store.unlist([listing(1).key], "admin:root", "", time.time())
    store.list([listing(2, source="robot:01", expiry_ms=int((time.time() + 99) * 1000))], time.time())
    bringer, log = Bringer(), Log()
    sharer = Sharer("site2", store, bringer, Manner(Selection(), per_s=1000.0), log)
    while sharer.turn():
        pass
    assert [report.key[3] for report in bringer.told] == [0, 3, 4, 2] and sharer.place == store.last_seq()
    assert not sharer.turn() and len(bringer.told) == 4 and log.lines == []


def test_the_rate_bounds_what_is_told_at_once(store: Store) -> None:
    store.list([listing(i) for i in range(50)], time.time())
    bringer = Bringer()
    sharer = Sharer("site2", store, bringer, Manner(Selection(), per_s=3.0), Log())
    sharer.turn()
    assert len(bringer.told) == 3 and sharer.place == 3


def test_a_refusal_is_told_once_and_a_journal_put_back_is_followed_on(store: Store) -> None:
    store.list([listing(i) for i in range(5)], time.time())
    log = Log()
    sharer = Sharer("site2", store, Bringer("refused: too much"), Manner(Selection(), per_s=100.0), log)
    sharer.turn()
    assert sharer.counts == {"refused": 5} and [verb for verb, _ in log.lines] == ["REFUSED"]
    sharer.place = 99
    sharer.turn()
    assert sharer.place == store.last_seq() and [verb for verb, _ in log.lines] == ["REFUSED", "NOTE"]


def test_a_site_that_is_away_is_told_of_once_and_so_is_its_return(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spamcannibal.gather.sharer.RETRY_S", 0.0)
    store.list([listing(1)], time.time())
    bringer, log = Bringer("away"), Log()
    sharer = Sharer("site2", store, bringer, Manner(Selection(), per_s=100.0), log)
    assert not sharer.turn() and sharer.is_waiting and sharer.place == 0
    assert not sharer.turn()
    bringer.answer = "ok"
    assert sharer.turn()
    assert [verb for verb, _ in log.lines] == ["TROUBLE", "RECOVERED"] and len(bringer.told) == 1


class Site:
    """A real installation: listener, store and a sharing process."""

    def __init__(self, path: Path, name: str) -> None:
        path.mkdir()
        self.name = name
        self.gather = Gather(path)
        self.share: subprocess.Popen[bytes] | None = None

    @property
    def store(self) -> Store:
        return self.gather.store

    def configure(self, told: list[Site], heard: list[Site], weight: float) -> None:
        """Settings: a reporter of our own on the socket, others by their keys, and whom we tell."""
        text = '[[gather.reporter]]\nname = "mx"\naddresses = ["local"]\nweight = 2.0\n'
        for other in heard:
            text += f'[[gather.reporter]]\nname = "{other.name}"\nkey_file = "{other.key}"\n'
            text += f"weight = {weight}\npeer = true\n"
        text += '[share]\nstate_file = "places.json"\n'
        for other in told:
            where = json.loads(other.gather._listen)[0]
            text += f'[[share.peer]]\nname = "{other.name}"\nserver = "{where}"\nkey_file = "{self.key}"\nper_s = 90\n'
        self.gather.configure(text)

    @property
    def key(self) -> Path:
        path = self.gather.path / "our.key"
        if not path.exists():
            path.write_text(f"the-shared-key-of-{self.name}\n")
            path.chmod(0o600)
        return path

    def start_share(self) -> None:
        argv = self.argv("share")
        before = self.shared_log.count("START service=share")
        with (self.gather.path / "share.log").open("ab") as log:
            self.share = subprocess.Popen(argv, stderr=log, stdin=subprocess.DEVNULL, env=environment())
        wait_for(lambda: self.shared_log.count("START service=share") > before, "sharing starts", 60)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "spamcannibal", "-c", str(self.gather.settings), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(*words), check=False, capture_output=True, text=True, env=environment(), timeout=60
        )

    def stop_share(self) -> int:
        assert self.share is not None
        self.share.terminate()
        return self.share.wait(60)

    @property
    def shared_log(self) -> str:
        path = self.gather.path / "share.log"
        return path.read_text() if path.exists() else ""

    def prove(self, address: str) -> None:
        """List as the trap does."""
        made = NewListing(parse_addr(address), source="trap:main", flags=PUBLISHED, text="trapped")
        self.store.list([made], time.time())

    def sources(self, address: str) -> list[str]:
        return [change.source for change in self.store.history(parse_addr(address))]

    @property
    def is_quiet(self) -> bool:
        """Whether all that happened here was told to everybody."""
        path = self.gather.path / "places.json"
        places = json.loads(path.read_text()) if path.exists() else {}
        return set(places.values()) == {self.store.last_seq()}

    def close(self) -> None:
        if self.share is not None and self.share.poll() is None:
            self.share.kill()
            self.share.wait()
        self.gather.close()


@contextmanager
def sites(path: Path, links: dict[int, tuple[int, ...]], weight: float) -> Iterator[list[Site]]:
    with ExitStack() as stack:
        made = []
        for i in links:
            site = Site(path / f"s{i}", f"site{i}")
            stack.callback(site.close)
            made.append(site)
        for i, site in enumerate(made):
            heard = [other for j, other in enumerate(made) if i in links[j]]
            site.configure([made[j] for j in links[i]], heard, weight)
        for site in made:
            site.gather.start()
            if links[made.index(site)]:
                site.start_share()
        yield made


def settle(made: list[Site]) -> list[int]:
    """Wait until all has been told, and what it caused, too; the journals' lengths."""
    lengths: list[int] = []

    def is_still() -> bool:
        nonlocal lengths
        before, lengths = lengths, [site.store.last_seq() for site in made]
        return before == lengths and all(site.is_quiet for site in made)

    wait_for(is_still, "nothing is left to tell", 60, 1.5)
    return lengths


def test_two_sites_tell_each_other_without_echo_and_catch_up_after_a_stop(tmp_path: Path) -> None:
    with sites(tmp_path, {0: (1,), 1: (0,)}, weight=2.0) as (one, two):
        one.prove("203.0.113.1")
        two.prove("203.0.113.2")
        for site, address, name in ((two, "203.0.113.1", "site0"), (one, "203.0.113.2", "site1")):
            found = site.gather.await_listing(address, code=3)
            assert site.sources(address) == [f"peer:{name}"] and not found.flags & PUBLISHED
        assert settle([one, two]) == [2, 2]

        second = one.run("share")
        assert second.returncode == 75 and "another process keeps its places" in second.stderr
        assert one.stop_share() == 0
        one.prove("203.0.113.3")
        one.start_share()
        two.gather.await_listing("203.0.113.3", code=3)
        two.prove("203.0.113.3")  # by itself, too: that is proof, and told
        settle([one, two])
        assert two.sources("203.0.113.3") == ["peer:site0", "trap:main"]
        assert one.sources("203.0.113.3") == ["trap:main"]
        assert one.stop_share() == 0 and two.stop_share() == 0
        done = one.run("share", "--dry-run", "--once")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_peer_of_less_weight_lists_nothing_alone(tmp_path: Path) -> None:
    with sites(tmp_path, {0: (1,), 1: ()}, weight=1.0) as (one, two):
        one.prove("203.0.113.1")
        wait_for(lambda: "black 1 of 2 (site0 1)" in two.gather.say("explain 203.0.113.1").decode(), "two hears it", 30)
        wait_for(lambda: two.gather.source("203.0.113.1") == "peer:site0", "it is written")  # brown, in nobody's zone
        assert two.gather.listing("203.0.113.1").flags == SHADOW  # type: ignore[union-attr]


def test_what_a_former_peer_said_does_not_become_our_own(tmp_path: Path) -> None:
    ours = '[[gather.reporter]]\nname = "mx"\naddresses = ["::1"]\n'
    peer = '[[gather.reporter]]\nname = "site1"\naddresses = ["127.0.0.1"]\npeer = true\n'
    with gathering(tmp_path, ours + peer) as gather:
        assert gather.say("black 203.0.113.1") == b"ok brown\n"
        gather.configure(ours)
        assert gather.process is not None
        gather.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gather.events("RELOAD"), "the settings are read again", 30)
        assert gather.say("black 203.0.113.1", 1) == b"ok black\n"
        gather.await_listing("203.0.113.1", code=3)
        assert gather.source("203.0.113.1") == "peer:site1"


def test_in_a_ring_proof_goes_one_step_and_random_listings_end(tmp_path: Path) -> None:
    rng = random.Random(7)
    with sites(tmp_path, {0: (1,), 1: (2,), 2: (0,)}, weight=2.0) as made:
        proven: dict[str, set[int]] = {}
        for _ in range(60):
            site, address = rng.choice(made), format_addr(bytes((203, 0, 113, rng.randrange(20))))
            if rng.random() < 0.5:
                site.prove(address)
            else:
                report(site, f"black {address}")
            proven.setdefault(address, set()).add(made.index(site))
        lengths = settle(made)
        for address, where in proven.items():
            for i, site in enumerate(made):
                sources = {source.partition(":")[0] for source in site.sources(address)}
                if i in where:
                    assert sources & {"trap", "gather"} and site.gather.listing(address).flags == PUBLISHED  # type: ignore[union-attr]
                else:
                    assert sources == ({"peer"} if (i - 1) % 3 in where else set()), (address, i, where)
        assert all(length <= 3 * 20 * 2 for length in lengths)


def report(site: Site, line: str) -> None:
    """Say a line as the site's own mail server."""
    assert say(str(site.gather.path / "socket"), line, 20.0).startswith("ok")


def test_sites_know_each_other_by_certificates(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = Site(tmp_path / "s0", "site0"), Site(tmp_path / "s1", "site1")
        stack.callback(one.close)
        stack.callback(two.close)
        server, client, other = (make_certificate(tmp_path, name) for name in ("two.test", "one.test", "no.test"))
        plain = json.loads(two.gather._listen)[0]
        two.gather._listen = "[]"
        two.gather.configure(
            f'tls_listen = ["{plain}"]\ntls_certificate = "{server}"\ntls_clients = "{client}"\n'
            '[[gather.reporter]]\nname = "site0"\nnames = ["one.test"]\nweight = 2.0\npeer = true\n'
        )
        two.gather.start()
        one.prove("203.0.113.1")
        peer = f'[[share.peer]]\nname = "site1"\nserver = "{plain}"\ncertificate = "{client}"\nhost = "two.test"\n'
        words = ("share", "--once", "--from-start")
        one.gather.configure(f'[share]\nstate_file = "places.json"\n{peer}authority = "{other}"\n')
        done = one.run(*words)
        assert done.returncode == 75 and "certificate verify failed" in done.stderr
        one.gather.configure(f'[share]\nstate_file = "places.json"\n{peer}authority = "{server}"\n')
        done = one.run(*words)
        assert done.returncode == 0, done.stderr
        two.gather.await_listing("203.0.113.1", code=3)
