"""The client for remote lists against real servers: every fault is unknown, and what is true is believed."""

import io
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers import faulty_dns as dns
from helpers.faulty_dns import FaultyDns, answer, nxdomain, rcode, silence, truncated
from live.nets import wait_for
from ports import free_port
from spamcannibal.addr import format_addr, parse_addr, reversed_name
from spamcannibal.errors import ConfigError, Unavailable
from spamcannibal.events import EventLog
from spamcannibal.remote.client import Client
from spamcannibal.remote.lists import Accept, RemoteList
from spamcannibal.remote.verdict import Found, Outcome, Verdict
from spamcannibal.remote.walk import STREAK
from spamcannibal.settings.remote import RemoteSettings

ZONE, OTHER = "bl.test", "other.test"
ADDR = parse_addr("203.0.113.7")  # and not of 192.0.2.0/24, where lists are tested at random
LISTED, CLEAR, UNKNOWN = Outcome.LISTED, Outcome.CLEAR, Outcome.UNKNOWN


@pytest.fixture
def server() -> Iterator[FaultyDns]:
    with FaultyDns() as one:
        one.good_list(ZONE)
        one.good_list(OTHER)
        yield one


def settings(folder: Path, *servers: FaultyDns, **changes: object) -> RemoteSettings:
    values = {
        "resolvers": tuple(server.endpoint for server in servers), "canary": (". NS",), "timeout_s": 5.0,
        "retry_s": 0.2, "tries": 3, "state_file": str(folder / "remote.json"),
    }  # fmt: skip
    return RemoteSettings(**(values | changes))  # type: ignore[arg-type]


def a_list(zone: str = ZONE, **changes: object) -> RemoteList:
    values: dict[str, object] = {"accept": (Accept("127.0.0.2-127.0.0.9"),)}
    return RemoteList(zone, **(values | changes))  # type: ignore[arg-type]


def log() -> EventLog:
    return EventLog(io.StringIO())


def name(addr: bytes = ADDR, zone: str = ZONE) -> str:
    return f"{reversed_name(addr)}.{zone}"


def ask(remote: RemoteSettings, *lists: RemoteList, addrs: tuple[bytes, ...] = (ADDR,)) -> dict[bytes, list[Verdict]]:
    with Client(remote, lists, log()) as client:
        return client.verdicts(addrs)


def ask_one(remote: RemoteSettings, one: RemoteList | None = None) -> Verdict:
    ((verdict,),) = ask(remote, one or a_list()).values()
    return verdict


# What the server does, and what must come of it: the outcome, and what the reason says or, of LISTED, the codes.
DEEDS = {
    "an answer": ([answer("127.0.0.2")], LISTED, "127.0.0.2"),
    "two answers": ([answer("127.0.0.4", "127.0.0.3")], LISTED, "127.0.0.4 127.0.0.3"),
    "an answer beside one that no rule takes": ([answer("127.0.0.99", "127.0.0.3")], LISTED, "127.0.0.3"),
    "NXDOMAIN": ([nxdomain], CLEAR, ""),
    "NODATA": ([dns.nodata], CLEAR, ""),
    "a code that no rule takes": ([answer("127.0.0.99")], CLEAR, "127.0.0.99: no accept rule takes it"),
    "an alias": ([dns.alias("a.test", "b.test", code="127.0.0.2")], LISTED, "127.0.0.2"),
    "an alias of nothing": ([dns.alias("a.test")], CLEAR, ""),
    "lost once": ([silence, answer("127.0.0.2")], LISTED, "127.0.0.2"),
    "SERVFAIL once": ([rcode(2), answer("127.0.0.2")], LISTED, "127.0.0.2"),
    "cut short, then whole over TCP": ([truncated(answer("127.0.0.2"))], LISTED, "127.0.0.2"),
    "another case, but right over TCP": ([dns.other_case], LISTED, "127.0.0.2"),
    "no EDNS": ([dns.formerr_to_edns], LISTED, "127.0.0.2"),
    "SERVFAIL": ([rcode(2)], UNKNOWN, "SERVFAIL"),
    "REFUSED": ([rcode(5)], UNKNOWN, "REFUSED"),
    "FORMERR": ([rcode(1)], UNKNOWN, "FORMERR"),
    "NOTIMP": ([rcode(4)], UNKNOWN, "NOTIMP"),
    "an rcode without a name": ([rcode(9)], UNKNOWN, "rcode 9"),
    "SERVFAIL without the question": ([dns.bare(2)], UNKNOWN, "SERVFAIL"),
    "NXDOMAIN without the question": ([dns.bare(3)], UNKNOWN, "timeout"),
    "silence": ([silence], UNKNOWN, "timeout"),
    "another id": ([dns.wrong_id], UNKNOWN, "timeout"),
    "another question": ([dns.wrong_question], UNKNOWN, "timeout"),
    "another type": ([dns.wrong_type], UNKNOWN, "timeout"),
    "from another address": ([dns.from_elsewhere], UNKNOWN, "timeout"),
    "a referral": ([dns.referral], UNKNOWN, "an answer without answers"),
    "NOERROR with nothing": ([dns.empty], UNKNOWN, "an answer without answers"),
    "oversize": ([dns.oversize], UNKNOWN, "oversize reply"),
    "an end missing": ([dns.cut(3)], UNKNOWN, "a record breaks off"),
    "a record missing": ([dns.cut(16)], UNKNOWN, "a name breaks off"),
    "noise": ([dns.noise], UNKNOWN, "malformed reply"),
    "a name that points at itself": ([dns.pointer_loop], UNKNOWN, "a name's pointer leads nowhere"),
    "fewer records than told": ([dns.counts(2)], UNKNOWN, "malformed reply"),
    "10,000 records told": ([dns.counts(10_000)], UNKNOWN, "too many records: 10000"),
    "10,000 records over TCP": ([dns.many(10_000)], UNKNOWN, "too many records: 10000"),
    "4,000 records over TCP": ([dns.many(4_000)], UNKNOWN, "too many records: 4000"),
    "a loop of aliases": ([dns.cname_loop], UNKNOWN, "a loop of CNAMEs"),
    "too long a chain": ([dns.alias(*(f"a{n}.test" for n in range(12)), code="127.0.0.2")], UNKNOWN, "CNAMEs"),
    "silence over TCP": ([truncated(silence)], UNKNOWN, "TCP"),
    "another question over TCP": ([truncated(dns.wrong_question)], UNKNOWN, "malformed reply"),
    "127.0.0.1": ([answer("127.0.0.1")], UNKNOWN, "127.0.0.1: refused by the list"),
    "127.255.255.254": ([answer("127.255.255.254")], UNKNOWN, "127.255.255.254: refused by the list"),
    "127.0.0.255": ([answer("127.0.0.255")], UNKNOWN, "127.0.0.255: refused by the list"),
    "an answer beside a refusal": ([answer("127.0.0.2", "127.255.255.255")], UNKNOWN, "refused by the list"),
    "an answer outside 127/8": ([answer("203.0.113.9")], UNKNOWN, "203.0.113.9: no answer of a list"),
    "an answer beside one outside 127/8": ([answer("127.0.0.2", "203.0.113.9")], UNKNOWN, "no answer of a list"),
}  # fmt: skip


@dataclass
class Seen:
    verdicts: dict[str, Verdict]
    counters: dict[str, int]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """All deeds in one run, each at an address of its own."""
    folder = tmp_path_factory.mktemp("remote")
    addrs = {deed: bytes((198, 51, 100, n)) for n, deed in enumerate(DEEDS)}
    with FaultyDns() as server:
        server.good_list(ZONE)
        for deed, (script, _, _) in DEEDS.items():
            server.on(name(addrs[deed]), *script)
        remote = settings(folder, server, failures=1000)
        with Client(remote, [a_list()], log()) as client:
            found = client.verdicts(addrs.values())
            return Seen({deed: found[addr][0] for deed, addr in addrs.items()}, dict(client.counters))


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_server_does_means(seen: Seen, deed: str) -> None:
    _, outcome, told = DEEDS[deed]
    verdict = seen.verdicts[deed]
    assert verdict.outcome is outcome, verdict
    if outcome is LISTED:
        assert (" ".join(map(format_addr, verdict.codes)), verdict.text, verdict.ttl_s) == (told, "listed", 60)
    else:
        assert told in verdict.reason and verdict.codes == ()
    if outcome is CLEAR:
        assert verdict.reason == told


def test_faults_are_counted(seen: Seen) -> None:
    wanted = {"stray", "wrong question", "truncated", "other case", "oversize", "malformed", "timeout", "SERVFAIL",
              "REFUSED", "FORMERR", "NOTIMP", "rcode 9"}  # fmt: skip
    assert wanted <= {counter for counter, count in seen.counters.items() if count}


def test_every_question_has_another_id_or_port_and_letters_in_other_cases(server: FaultyDns, tmp_path: Path) -> None:
    addrs = tuple(bytes((198, 51, 100, n)) for n in range(200))
    ask(settings(tmp_path, server), a_list(), addrs=addrs)
    zones = {asked[-len(ZONE):] for asked, _, _ in server.asked if asked.lower().endswith(ZONE)}
    assert len(zones) > 16  # of 64 with its six letters
    server.asked.clear()
    ask(settings(tmp_path, server, mixed_case=False), a_list(), addrs=addrs)
    assert {asked for asked, _, _ in server.asked} - {"."} == {name(addr) for addr in addrs}


def test_ipv6_is_asked_by_its_nibbles_and_only_where_a_list_speaks_it(server: FaultyDns, tmp_path: Path) -> None:
    addr = parse_addr("2001:db8::7")
    server.on(name(addr), answer("127.0.0.3", text="v6"))
    both = a_list(families=("ip4", "ip6"))
    found = ask(settings(tmp_path, server), both, a_list(OTHER), addrs=(ADDR, addr))
    assert [(verdict.zone, verdict.outcome, verdict.text) for verdict in found[addr]] == [(ZONE, LISTED, "v6")]
    assert [(verdict.zone, verdict.outcome) for verdict in found[ADDR]] == [(ZONE, CLEAR), (OTHER, CLEAR)]
    assert server.count(f"1.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}{ZONE}") == 1  # the test point that must be clear


def test_only_hits_are_asked_for_their_text_and_a_list_may_have_none(server: FaultyDns, tmp_path: Path) -> None:
    for zone in (ZONE, OTHER):
        server.on(name(zone=zone), answer("127.0.0.2", text="spam"))
    addrs = ADDR, parse_addr("203.0.113.8")
    found = ask(settings(tmp_path, server), a_list(), a_list(OTHER, text=False), addrs=addrs)
    assert [verdict.text for verdict in found[ADDR]] == ["spam", ""]
    assert [asked.lower() for asked, qtype, _ in server.asked if qtype == "TXT"] == [name()]


@pytest.mark.parametrize("deed", [silence, rcode(2), nxdomain, dns.noise])
def test_a_hit_whose_text_can_not_be_had_stays_a_hit(server: FaultyDns, tmp_path: Path, deed: dns.Deed) -> None:
    server.on(f"{name()} TXT", deed)
    server.on(name(), answer("127.0.0.2"))
    verdict = ask_one(settings(tmp_path, server), a_list(timeout_s=1.0 if deed is silence else 5.0))
    assert (verdict.outcome, verdict.text) == (LISTED, "")


def test_the_next_resolver_is_asked_where_one_fails(server: FaultyDns, tmp_path: Path) -> None:
    server.on(name(), answer("127.0.0.2"))
    for fault in (silence, rcode(2), dns.noise):
        with FaultyDns() as bad:
            bad.good_list(ZONE)
            bad.default = fault
            assert ask_one(settings(tmp_path, bad, server)).outcome is LISTED


def test_a_resolver_may_have_an_ipv6_address(tmp_path: Path) -> None:
    with FaultyDns("::1") as server:
        server.good_list(ZONE)
        server.on(name(), truncated(answer("127.0.0.2")))
        assert ask_one(settings(tmp_path, server)).outcome is LISTED


def test_a_resolver_that_finds_not_even_the_canary_is_not_asked(server: FaultyDns, tmp_path: Path) -> None:
    with FaultyDns() as bad:
        bad.on(". NS", nxdomain)
        with Client(settings(tmp_path, bad, server), [a_list()], log()) as client:
            assert client.verdicts([ADDR])[ADDR][0].outcome is CLEAR
            assert [bool(one.why) for one in client.summary().resolvers] == [True, False]
        assert {asked for asked, _, _ in bad.asked} == {"."}


def test_without_a_resolver_nothing_is_said_and_nothing_tested(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{closed.getsockname()[1]}"
    with FaultyDns() as deaf:
        deaf.on(". NS", silence)
        remote = settings(tmp_path, deaf, resolvers=(endpoint, deaf.endpoint), timeout_s=1.0)
        with Client(remote, [a_list()], log()) as client:
            with pytest.raises(Unavailable, match=r"none finds any of \. NS .*not there: Connection refused.*timeout"):
                client.verdicts([ADDR])
        assert {asked for asked, _, _ in deaf.asked} == {"."}
    assert json.loads(Path(remote.state_file).read_text()) == {"states": {}, "spent": {}}


def test_a_network_that_goes_down_ends_the_walk_and_sets_no_list_aside(
    server: FaultyDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spamcannibal.remote.watch.FRESH_S", 0.0)
    addrs = [bytes((198, 51, 100, n)) for n in range(100)]
    remote = settings(tmp_path, server, timeout_s=2.0, tries=1, failures=10, list_in_flight=10)
    with Client(remote, [a_list()], log()) as client:
        assert client.healthy().lists[0].why == ""
        server.default = silence
        server.on(". NS", silence)
        done = []
        with pytest.raises(Unavailable):
            for addr, (verdict,) in client.stream(addrs):
                done.append(addr)
                assert verdict.outcome is UNKNOWN
        assert len(done) < 50
        assert client.summary().lists[0].why == ""


def test_a_list_that_falls_silent_is_set_aside_and_the_others_go_on(server: FaultyDns, tmp_path: Path) -> None:
    addrs = [bytes((198, 51, 100, n)) for n in range(100)]
    server.on("1.100.51.198.bl.test", answer("127.0.0.2"))
    remote = settings(tmp_path, server, failures=10, list_in_flight=10)
    with Client(remote, [a_list(), a_list(OTHER, timeout_s=1.0)], log()) as client:
        client.healthy()
        for addr in addrs:
            server.on(name(addr, OTHER), silence)
        found = client.verdicts(addrs)
        assert all(verdicts[0].outcome is not UNKNOWN for verdicts in found.values())
        assert all(verdicts[1].outcome is UNKNOWN for verdicts in found.values())
        asked = {name.lower() for name, _, _ in server.asked if name.lower().endswith(OTHER)}
        assert len(asked) < 50
        assert "no usable answer to 10 questions in a row, to the last: timeout" in client.summary().lists[1].why


@pytest.mark.parametrize(
    ("point", "deed", "why"),
    [
        ("2.0.0.127", nxdomain, "does not list 127.0.0.2, so it lists nothing"),
        ("2.0.0.127", silence, "no answer about 127.0.0.2: timeout"),
        ("2.0.0.127", rcode(5), "no answer about 127.0.0.2: REFUSED"),
        ("2.0.0.127", answer("127.255.255.254"), "refuses questions: answers 127.255.255.254 about 127.0.0.2"),
        ("2.0.0.127", answer("203.0.113.9"), "answers 203.0.113.9 about 127.0.0.2"),
        ("1.0.0.127", answer("127.0.0.2"), "lists 127.0.0.1, so it lists everything"),
    ],
)
def test_a_list_that_fails_a_test_point_is_set_aside_by_itself(
    server: FaultyDns, tmp_path: Path, point: str, deed: dns.Deed, why: str
) -> None:
    server.on(f"{point}.{ZONE}", deed)
    server.on(name(), answer("127.0.0.2"))
    server.on(name(zone=OTHER), answer("127.0.0.2"))
    stream = io.StringIO()
    tested = a_list(timeout_s=1.0 if deed is silence else 5.0)
    with Client(settings(tmp_path, server), [tested, a_list(OTHER)], EventLog(stream)) as client:
        bad, good = client.verdicts([ADDR])[ADDR]
    assert (bad.outcome, good.outcome) == (UNKNOWN, LISTED)
    assert bad.reason.startswith("set aside: ") and why in bad.reason
    assert f"REMOTE_ASIDE zone={ZONE} family=ip4 why=" in stream.getvalue()
    assert server.count(name()) == 0


def test_a_zone_with_a_wildcard_is_found_out_by_an_address_that_nobody_has(server: FaultyDns, tmp_path: Path) -> None:
    server.wildcards.add(ZONE)
    server.on(f"1.0.0.127.{ZONE}", nxdomain)
    verdict = ask_one(settings(tmp_path, server))
    assert verdict.outcome is UNKNOWN
    assert "set aside: lists 192.0.2." in verdict.reason and "so it lists everything" in verdict.reason


def test_a_list_that_begins_to_list_everything_is_tested_before_its_hour(server: FaultyDns, tmp_path: Path) -> None:
    addrs = [bytes((198, 51, 100 + n // 200, n % 200)) for n in range(1000)]
    with Client(settings(tmp_path, server, list_in_flight=20), [a_list()], log()) as client:
        assert client.healthy().lists[0].why == ""
        server.wildcards.add(ZONE)
        found = [verdict for (verdict,) in client.verdicts(addrs).values()]
    listed = sum(verdict.outcome is LISTED for verdict in found)
    assert STREAK <= listed < STREAK + 100
    assert {verdict.outcome for verdict in found} == {LISTED, UNKNOWN}


def test_health_is_remembered_and_a_list_comes_back_slowly(server: FaultyDns, tmp_path: Path) -> None:
    remote = settings(tmp_path, server)
    server.on(f"2.0.0.127.{ZONE}", nxdomain)
    ask_one(remote)
    server.good_list(ZONE)
    server.asked.clear()
    assert ask_one(remote).reason.startswith("set aside: does not list")  # the next run: not due yet
    assert server.count(f"2.0.0.127.{ZONE}") == 0
    with Client(remote, [a_list()], log()) as client:
        assert client.healthy(force=True).lists[0].why != ""
        assert client.healthy(force=True).lists[0].why == ""
        assert client.verdicts([ADDR])[ADDR][0].outcome is CLEAR
    assert server.count(f"2.0.0.127.{ZONE}") == 2


def test_answers_are_asked_for_once_while_they_last(server: FaultyDns, tmp_path: Path) -> None:
    dying = parse_addr("203.0.113.9")
    server.on(name(dying), answer("127.0.0.2", ttl=0))
    with Client(settings(tmp_path, server), [a_list()], log()) as client:
        for _ in range(3):
            client.verdicts([ADDR, dying])
    assert (server.count(name()), server.count(name(dying))) == (1, 6)  # A and TXT each time


def test_a_day_has_so_many_questions_over_all_runs(server: FaultyDns, tmp_path: Path) -> None:
    addrs = tuple(bytes((198, 51, 100, n)) for n in range(10))
    one = a_list(per_day=3 + 7)  # three are its test
    found = ask(settings(tmp_path, server), one, addrs=addrs[:4])
    assert {verdict.outcome for (verdict,) in found.values()} == {CLEAR}
    found = ask(settings(tmp_path, server), one, addrs=addrs[4:])
    assert [verdict.outcome for (verdict,) in found.values()].count(CLEAR) == 3
    assert {verdict.reason for (verdict,) in found.values()} == {"", "the day's questions are used up"}


def test_a_key_is_asked_with_but_never_shown(server: FaultyDns, tmp_path: Path) -> None:
    key = "q3x7secret"
    (tmp_path / "key").write_text(f"{key}\n")
    one = a_list(key_file=str(tmp_path / "key"))
    server.good_list(f"{key}.{ZONE}")
    server.on(name(zone=f"{key}.{ZONE}"), answer("127.0.0.2"))
    server.on(name(parse_addr("203.0.113.8"), f"{key}.{ZONE}"), dns.noise)
    stream = io.StringIO()
    with Client(settings(tmp_path, server), [one], EventLog(stream)) as client:
        found = client.verdicts([ADDR, parse_addr("203.0.113.8")])
        told = repr((found, client.summary(), client.counters, client.zones))
    assert found[ADDR][0].outcome is LISTED
    state = Path(settings(tmp_path, server).state_file).read_text()
    assert key not in told + stream.getvalue() + state


@pytest.mark.parametrize("text", ["", "two words", "x" * 254, "\0"])
def test_a_key_that_is_none_is_refused_without_being_told(server: FaultyDns, tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match=rf"key: wrong key for {ZONE}, got {len(text)} char") as caught:
        Client(settings(tmp_path, server), [a_list(key_file=str(tmp_path / "key"))], log())
    assert not text.strip() or text not in str(caught.value)


def test_a_key_file_that_is_missing_or_much_too_long_is_told(server: FaultyDns, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("x" * 1000)
    for file, why in (("none", "can't be read: No such file"), ("long", "too long, want at most 300 bytes")):
        with pytest.raises(ConfigError, match=why):
            Client(settings(tmp_path, server), [a_list(key_file=str(tmp_path / file))], log())


def test_who_stops_gets_what_is_known_and_unknown_for_the_rest(server: FaultyDns, tmp_path: Path) -> None:
    slow = parse_addr("203.0.113.9")
    server.on(name(slow), silence)
    done: list[bytes] = []
    with Client(settings(tmp_path, server), [a_list()], log(), stop=lambda: bool(done)) as client:
        found = {}
        for addr, (verdict,) in client.stream([ADDR, slow]):
            done.append(addr)
            found[addr] = verdict
    assert found[ADDR].outcome is CLEAR
    assert (found[slow].outcome, found[slow].reason) == (UNKNOWN, "stopped")


def test_progress_is_told_and_zones_can_be_chosen(server: FaultyDns, tmp_path: Path) -> None:
    steps: list[int] = []
    with Client(settings(tmp_path, server), [a_list(), a_list(OTHER)], log()) as client:
        found = client.verdicts([ADDR, ADDR, parse_addr("203.0.113.8")], [OTHER], steps.append)
        assert [verdict.zone for verdict in found[ADDR]] == [OTHER] and sum(steps) == 2
        with pytest.raises(ConfigError, match=r"no such list: 'nil\.test', want one of bl\.test, other\.test"):
            client.verdicts([ADDR], ["nil.test"])


@pytest.mark.parametrize(
    ("deed", "outcome", "told"),
    [
        (dns.names("MX.example.test", "b.example.test"), Found.FOUND, "mx.example.test b.example.test"),
        (nxdomain, Found.MISSING, "NXDOMAIN"),
        (dns.nodata, Found.MISSING, "NODATA"),
        (dns.empty, Found.UNKNOWN, "malformed reply: an answer without answers"),
        (rcode(2), Found.UNKNOWN, "SERVFAIL"),
        (silence, Found.UNKNOWN, "timeout"),
    ],
)  # fmt: skip
def test_a_pointer_is_missing_only_where_that_is_said(
    server: FaultyDns, tmp_path: Path, deed: dns.Deed, outcome: Found, told: str
) -> None:
    addrs = [ADDR, parse_addr("2001:db8::7")]
    for addr, arpa in zip(addrs, ("in-addr.arpa", "ip6.arpa"), strict=True):
        server.on(name(addr, arpa), deed)
    with Client(settings(tmp_path, server, timeout_s=1.0 if deed is silence else 5.0), [], log()) as client:
        found = client.pointers(addrs)
    for addr in addrs:
        assert found[addr].outcome is outcome
        assert (" ".join(found[addr].names) or found[addr].reason) == told


def test_where_not_even_known_names_are_found_none_is_missing_until_they_are(server: FaultyDns, tmp_path: Path) -> None:
    stream = io.StringIO()
    server.on("4.0.41.198.in-addr.arpa", nxdomain)
    for addr, arpa in ((ADDR, "in-addr.arpa"), (parse_addr("2001:db8::7"), "ip6.arpa")):
        server.on(name(addr, arpa), nxdomain)
        with Client(settings(tmp_path, server, health_retry_s=1e-6), [], EventLog(stream)) as client:
            found = client.pointers([addr])[addr]
            assert found.outcome is Found.UNKNOWN
            assert "finds no name of 198.41.0.4, 193.0.14.129, 8.8.8.8, which have one" in found.reason
            server.on("4.0.41.198.in-addr.arpa", dns.names("a.root.test"))
            assert client.pointers([addr])[addr].outcome is Found.MISSING
        server.on("4.0.41.198.in-addr.arpa", nxdomain)
    assert stream.getvalue().count("REMOTE_BACK zone=in-addr.arpa") == 2


def test_reverse_dns_that_ends_in_the_middle_is_found_out(server: FaultyDns, tmp_path: Path) -> None:
    addrs = [bytes((198, 51, 100 + n // 200, n % 200)) for n in range(1000)]
    with Client(settings(tmp_path, server, list_in_flight=20), [], log()) as client:
        assert client.pointers([ADDR])[ADDR].outcome is Found.MISSING
        server.on("4.0.41.198.in-addr.arpa", nxdomain)
        found = [pointers.outcome for pointers in client.pointers(addrs).values()]
    assert found.count(Found.MISSING) < STREAK + 100
    assert set(found) == {Found.MISSING, Found.UNKNOWN}


def test_two_processes_remember_both_of_their_tests_and_questions(server: FaultyDns, tmp_path: Path) -> None:
    remote = settings(tmp_path, server)
    with Client(remote, [a_list()], log()) as first, Client(remote, [a_list(OTHER), a_list()], log()) as second:
        first.verdicts([ADDR])
        second.verdicts([ADDR])
    told = json.loads(Path(remote.state_file).read_text())
    assert sorted(told["states"]) == [f"{ZONE} ip4", f"{OTHER} ip4"]
    tests = 3  # of each list by each process: both test points and the address that nobody has
    assert {zone: one["count"] for zone, one in told["spent"].items()} == {ZONE: 2 + 2 * tests, OTHER: 1 + tests}


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"states": 3}', "\xff", "{}" + " " * (4 << 20)])
def test_a_state_file_that_is_none_is_as_if_there_were_none(server: FaultyDns, tmp_path: Path, content: str) -> None:
    remote = settings(tmp_path, server)
    Path(remote.state_file).write_text(content, "latin-1")
    assert ask_one(remote).outcome is CLEAR
    assert "bl.test ip4" in json.loads(Path(remote.state_file).read_text())["states"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for somebody else")
def test_what_root_remembers_belongs_to_the_owner_of_the_place(server: FaultyDns) -> None:
    # Not below pytest's own directory, which is closed to that owner.
    with TemporaryDirectory(prefix="remote-") as made:
        folder = Path(made)
        os.chown(folder, 4711, 4712)
        ask_one(settings(folder, server))
        owners = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in folder.iterdir()}
    assert owners == dict.fromkeys(("remote.json", "remote.json.lock"), (4711, 4712))


def test_without_a_place_for_its_state_a_client_works_and_says_so(server: FaultyDns, tmp_path: Path) -> None:
    stream = io.StringIO()
    remote = settings(tmp_path, server, state_file=str(tmp_path / "none" / "remote.json"))
    with Client(remote, [a_list()], EventLog(stream)) as client:
        assert client.verdicts([ADDR])[ADDR][0].outcome is CLEAR
    assert "REMOTE_STATE" in stream.getvalue()


def test_connections_are_bounded_and_the_others_wait(server: FaultyDns, tmp_path: Path) -> None:
    both = threading.Barrier(2)  # each answers only while the other is there

    def pairwise(asked: dns.Asked) -> None:
        both.wait(10)
        answer("127.0.0.2")(asked)

    addrs = tuple(bytes((198, 51, 100, n)) for n in range(10))
    for addr in addrs:
        server.on(name(addr), truncated(pairwise))
    found = ask(settings(tmp_path, server, tcp_connections=2, timeout_s=20.0), a_list(text=False), addrs=addrs)
    assert {verdict.outcome for (verdict,) in found.values()} == {LISTED}
    assert server.most_streams == 2


def test_who_would_wait_too_long_for_a_connection_is_unknown(
    server: FaultyDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spamcannibal.remote.streams.QUEUE_LIMIT", 0)
    server.on(name(), truncated(answer("127.0.0.2")))
    verdict = ask_one(settings(tmp_path, server))
    assert (verdict.outcome, verdict.reason) == (UNKNOWN, "too many questions over TCP")


def test_ports_change_and_old_ones_are_closed(
    server: FaultyDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, value in (("USES", 2), ("PORTS", 4), ("RETIRED_LIMIT", 8)):
        monkeypatch.setattr(f"spamcannibal.remote.resolver.{limit}", value)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Client(settings(tmp_path, server), [a_list(in_flight=4)], log()) as client:
        client.verdicts(bytes((198, 51, 100, n)) for n in range(100))
        # Beside those in use and those that wait to be closed there are two epolls.
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 4 + 8 + 4 + 2
    assert len(server.ports) > 25
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_rbldnsd_and_the_client_understand_each_other(tmp_path: Path, open_path: Path) -> None:
    v4 = ":127.0.0.4:$ sends spam\n127.0.0.2\n192.0.2.0/28\n!192.0.2.9\n198.51.100.1 :127.0.0.9:\n"
    (open_path / "v4").write_text(v4)  # rbldnsd drops its rights
    (open_path / "v6").write_text(":2:$ sends spam\n::ffff:127.0.0.2\n2001:db8:1::/48\n!2001:db8:1:2::/64\n")
    port = free_port()
    argv = ["rbldnsd", "-n", "-q", "-u", "nobody", "-r", str(open_path), "-b", f"127.0.0.1/{port}",
            f"{ZONE}:ip4trie:v4", f"{ZONE}:ip6trie:v6"]  # fmt: skip
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        one = a_list(families=("ip4", "ip6"), accept=(Accept("127.0.0.0/29", "spam", 2.5),), test_clear=("127.0.0.1",))
        remote = settings(tmp_path, resolvers=(f"127.0.0.1:{port}",), canary=(f"2.0.0.127.{ZONE} A",), timeout_s=1.0)

        def up() -> bool:
            with Client(remote, [one], log()) as client:
                try:
                    return not any(each.why for each in client.healthy(force=True).lists)
                except Unavailable:
                    return False

        wait_for(up, "rbldnsd to answer")
        want = {
            "192.0.2.8": (LISTED, "192.0.2.8 sends spam"), "192.0.2.9": (CLEAR, ""), "192.0.2.200": (CLEAR, ""),
            "198.51.100.1": (CLEAR, ""), "2001:db8:1::7": (LISTED, "2001:db8:1::7 sends spam"),
            "2001:db8:1:2::7": (CLEAR, ""), "2001:db8:2::7": (CLEAR, ""),
        }  # fmt: skip
        found = ask(remote, one, addrs=tuple(map(parse_addr, want)))
        assert {format_addr(addr): (verdict.outcome, verdict.text) for addr, (verdict,) in found.items()} == want
        (verdict,) = found[parse_addr("192.0.2.8")]
        assert (verdict.reason, verdict.weight, verdict.codes) == ("spam", 2.5, (bytes((127, 0, 0, 4)),))
        assert found[parse_addr("198.51.100.1")][0].reason == "127.0.0.9: no accept rule takes it"
    finally:
        process.terminate()
        process.wait()
