"""The DNS loop on real sockets: what it answers, what it hands over, and what it does when there is too much."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
import threading
from collections.abc import Collection, Iterator
from typing import Any

import dnslib
import pytest

from dnsbl_peers import SPEC, ZONE, outcome, question, value, view
from live.nets import Host, Lab, wait_for
from spamcannibal._core import DnsLoop, RateLimit, Shelf
from spamcannibal.addr import parse_key
from spamcannibal.colours import Kind
from spamcannibal.dnsbl.answer import View, answer
from spamcannibal.dnsbl.compiled import compiled
from spamcannibal.dnsbl.sockets import bind_group
from spamcannibal.dnsbl.zone import ZoneSpec, compile_zone

V4 = bytes((127, 0, 0, 1))
VIEW = view({"192.0.2.1": value(), "198.51.100.0/24": value()}, texts={"198.51.100.0/24": "own"})
LISTED = question(f"1.2.0.192.{ZONE}")
OWN_TEXT = question(f"9.100.51.198.{ZONE}", "TXT")


class Running:
    """Loops on sockets of their own, one a thread, over a view."""

    def __init__(self, sockets: list[socket.socket], shown: View | None, **options: Any) -> None:
        self.sockets = sockets
        self.loops = [DnsLoop([sock.fileno()], **options) for sock in sockets]
        self.threads = [threading.Thread(target=loop.run) for loop in self.loops]
        for loop, thread in zip(self.loops, self.threads, strict=True):
            loop.publish(shown.fast if shown else None)
            thread.start()

    def count(self, name: str) -> int:
        return sum(loop.counters()[name] for loop in self.loops)

    def close(self) -> None:
        for loop in self.loops:
            loop.stop()
        for thread in self.threads:
            thread.join()
        for sock in self.sockets:
            sock.close()


@contextlib.contextmanager
def running(shown: View | None = VIEW, threads: int = 1, **options: Any) -> Iterator[Running]:
    udp, tcp = bind_group(V4, 0, threads)
    tcp.close()
    made = Running(udp, shown, **options)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def client(server: Running) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(server.sockets[0].getsockname())
        yield sock


def asked(sock: socket.socket, query: bytes) -> bytes:
    sock.send(query)
    return sock.recv(65535)


def taken(loop: DnsLoop, limit: int = 64) -> list[tuple[bytes, bytes, bytes]]:
    assert select.select([loop], [], [], 10)[0]
    return loop.take(limit)


def test_what_is_plain_is_answered_and_counted() -> None:
    with running() as made, client(made) as sock:
        for query in (LISTED, question(f"2.2.0.192.{ZONE}", "TXT"), question(f"2.0.192.{ZONE}", "AAAA"), b"\1" * 12):
            assert asked(sock, query) == answer(query, VIEW)
        sock.send(b"\0\0\x80" + bytes(20))
        wait_for(lambda: made.count("silent") == 1, "an answer sent to us is counted")
        names = ("queries", "type_a", "type_txt", "type_aaaa", "answered", "nxdomain", "nodata", "formerr", "asked")
        assert {name: made.count(name) for name in names} == dict(zip(names, (5, 1, 1, 1, 1, 1, 1, 1, 0), strict=True))


def test_what_is_odd_is_handed_over_with_its_asker_and_answered_by_the_same_socket() -> None:
    with running() as made, client(made) as sock:
        (loop,) = made.loops
        assert not select.select([loop], [], [], 0)[0] and loop.take(9) == []
        sock.send(OWN_TEXT)
        ((query, addr, peer),) = taken(loop)
        assert (query, addr) == (OWN_TEXT, V4)
        assert not select.select([loop], [], [], 0)[0] or loop.take(9) == []
        reply = answer(query, VIEW)
        assert isinstance(reply, bytes)
        loop.send(reply, peer)
        assert outcome(dnslib.DNSRecord.parse(sock.recv(4096))) == '"own"'
        with pytest.raises(TypeError):
            loop.send(reply, peer[:-1])
        with pytest.raises(OSError):
            loop.send(reply, b"\xff" * len(peer))


def test_more_asks_than_the_bound_get_servfail_and_are_counted() -> None:
    with running(asks=4) as made, client(made) as sock:
        (loop,) = made.loops
        for _ in range(10):
            sock.send(OWN_TEXT)
        wait_for(lambda: made.count("asked") + made.count("asks_shed") == 10, "all are dealt with")
        assert (made.count("asked"), made.count("asks_shed")) == (4, 6)
        assert {reply[3] & 15 for reply in (sock.recv(99) for _ in range(6))} == {2}
        assert [len(taken(loop, 3)), len(taken(loop, 3))] == [3, 1]
        assert outcome(dnslib.DNSRecord.parse(asked(sock, LISTED))) == "127.0.0.2"
        sock.send(OWN_TEXT)
        assert taken(loop)[0][0] == OWN_TEXT


def test_what_is_shed_is_limited_and_never_cut_to_the_question_of_another() -> None:
    with running(asks=1, rate_limit=RateLimit(1, 0, 1, 64, ())) as made, client(made) as sock:
        assert asked(sock, LISTED) == answer(LISTED, VIEW)
        for _ in range(9):
            sock.send(OWN_TEXT)
        assert {sock.recv(4096) for _ in range(8)} == {OWN_TEXT[:2] + b"\x81\2" + bytes(8)}
        assert (made.count("asks_shed"), made.count("slipped")) == (8, 7)


def test_without_a_view_python_is_asked_everything() -> None:
    with running(None) as made, client(made) as sock:
        sock.send(LISTED)
        assert taken(made.loops[0])[0][0] == LISTED
        made.loops[0].publish(VIEW.fast)
        assert asked(sock, LISTED) == answer(LISTED, VIEW)


def test_datagrams_of_every_size_are_dealt_with() -> None:
    with running() as made, client(made) as sock:
        for size in (0, 1, 11):
            sock.send(LISTED[:size])
        for size in (12, 13, 511, 512, 4095, 4096, 4097, 9000, 65507):
            rcode = asked(sock, (LISTED + bytes(65535))[:size])[3] & 15
            assert rcode == (0 if 511 <= size <= 4096 else 1)
        counted = [made.count(name) for name in ("silent", "answered", "formerr", "oversized")]
        assert counted == [3, 4, 5, 3]


def test_every_thread_has_its_share() -> None:
    with running(threads=3) as made, contextlib.ExitStack() as stack:
        for _ in range(60):
            sock = stack.enter_context(client(made))
            assert asked(sock, LISTED) == answer(LISTED, VIEW)
        assert all(loop.counters()["answered"] > 0 for loop in made.loops) and made.count("answered") == 60


def test_views_and_entries_change_under_load() -> None:
    """Every answer is one that a view had; nothing is lost, whoever else is at the tables."""
    shelves = {Kind(): Shelf()}
    views = [compiled([compile_zone(ZoneSpec(ZONE, text=text))], shelves) for text in ("one", "two")]
    key, done = parse_key("192.0.2.1"), threading.Event()

    def change(loop: DnsLoop) -> None:
        number = 0
        while not done.wait(0.0005):  # which lets the asking thread have the interpreter
            number += 1
            loop.publish(views[number % 2])
            for other in range(200):
                shelves[Kind()].set(bytes((10, 0, number % 256, other)), value())
            (shelves[Kind()].set(key, value()) if number % 2 else shelves[Kind()].discard(key))

    with running() as made, client(made) as sock:
        made.loops[0].publish(views[0])
        writer = threading.Thread(target=change, args=(made.loops[0],))
        writer.start()
        try:
            query = question(f"1.2.0.192.{ZONE}", "TXT")
            seen = {outcome(dnslib.DNSRecord.parse(asked(sock, query))) for _ in range(300)}
        finally:
            done.set()
            writer.join()
    assert seen <= {'"one"', '"two"', "NXDOMAIN"} and len(seen) > 1


def test_a_loop_can_be_stopped_before_it_runs_and_runs_once_at_a_time() -> None:
    with running() as made:
        wait_for(lambda: made.count("turns"), "it runs")
        with pytest.raises(RuntimeError, match="runs already"):
            made.loops[0].run()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        loop = DnsLoop([sock.fileno()])
        loop.stop()
        loop.run()


def test_a_socket_that_is_lost_ends_the_loop_with_its_reason() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(OSError):
            DnsLoop([read_end]).run()
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("fds", [[], [0] * 65, ["x"], 5])
def test_what_is_no_list_of_sockets_is_refused(fds: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        DnsLoop(fds)  # type: ignore[arg-type]
    for options in ({"limit_bytes": 511}, {"limit_bytes": 4097}, {"asks": 0}):
        with pytest.raises(ValueError, match="DnsLoop"):
            DnsLoop([0], **options)


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with Lab("dnsl") as lab:
        server, asker = lab.host("server"), lab.host("asker")
        lab.link(server, asker, "10.88.0.1/24", "10.88.0.2/24")
        lab.link(server, asker, "fd88::1/64", "fd88::2/64")
        interface = lab.link(server, asker, "10.88.0.9/24", "10.88.0.3/24")
        server.ip("addr", "add", "fd88::9/64", "dev", interface, "nodad")
        yield server, asker


@pytest.mark.parametrize("wildcard", [bytes(4), bytes(16)], ids=["IPv4", "IPv6"])
def test_replies_leave_from_the_address_that_was_asked(hosts: tuple[Host, Host], wildcard: bytes) -> None:
    server, asker = hosts
    family, targets = (
        (socket.AF_INET, ("10.88.0.1", "10.88.0.9"))
        if len(wildcard) == 4
        else (socket.AF_INET6, ("fd88::1", "fd88::9"))
    )
    with server.entered():
        udp, tcp = bind_group(wildcard, 0)
    tcp.close()
    made = Running(udp, VIEW)
    try:
        with asker.entered():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(10)
            for target in targets:
                for query in (LISTED, OWN_TEXT):
                    sock.sendto(query, (target, udp[0].getsockname()[1]))
                    if query == OWN_TEXT:
                        ((_, _, peer),) = taken(made.loops[0])
                        made.loops[0].send(answer(query, VIEW), peer)  # type: ignore[arg-type]
                    reply, source = sock.recvfrom(4096)
                    assert source[0] == target and reply == answer(query, VIEW)
    finally:
        made.close()


@contextlib.contextmanager
def one_batch(servers: list[socket.socket]) -> Iterator[DnsLoop]:
    """A loop that finds what was sent before as one batch."""
    loop = DnsLoop([sock.fileno() for sock in servers])
    loop.publish(VIEW.fast)
    yield loop
    thread = threading.Thread(target=loop.run)
    thread.start()
    wait_for(lambda: loop.counters()["turns"] > 1, "all is answered")
    loop.stop()
    thread.join()


def mixed(count: int, start: int = 0) -> list[bytes]:
    """Queries whose answers have many sizes, each with a number of its own."""
    names = ("1.2.0.192", "2.2.0.192", "100.100.100.10", "2.0.192", "99.100.51.198", "255.100.51.198", "www", "a.b")
    made = []
    for number in range(start, start + count):
        query = question(f"{names[number % len(names)]}.{ZONE}", ("A", "A", "ANY")[number % 3])
        made.append(number.to_bytes(2, "big") + query[2:])
    return made


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])
@pytest.mark.parametrize(
    ("counts", "joined"),
    [((30, 1, 20), range(35, 51)), ((64,), range(40, 65)), ((2,) * 32, range(20, 65)), ((1,) * 64, [0])],
    ids=["few peers", "one peer", "pairs", "all alone"],
)
def test_replies_to_one_peer_leave_together_and_whole(
    address: str, counts: tuple[int, ...], joined: Collection[int]
) -> None:
    # Peers whose ports share one of 256 slots leave most behind: three times in a row they do not.
    assert any(joined_of_one_batch(address, counts) in joined for _ in range(3))


def joined_of_one_batch(address: str, counts: tuple[int, ...]) -> int:
    """Have peers ask that often each, check what they get, and give how many replies left joined."""
    family, target = (socket.AF_INET, "127.0.0.1") if "." in address else (socket.AF_INET6, "::1")
    udp, tcp = bind_group(parse_key(address), 0)
    tcp.close()
    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in counts]
        sent = [mixed(count, 100 * n) for n, count in enumerate(counts)]
        with stack.enter_context(udp[0]), one_batch(udp) as loop:
            for asker in askers:
                asker.settimeout(10)
                asker.connect((target, udp[0].getsockname()[1]))
            for turn in range(max(counts)):
                for asker, queries in zip(askers, sent, strict=True):
                    if turn < len(queries):
                        asker.send(queries[turn])
        for asker, queries in zip(askers, sent, strict=True):
            assert sorted(asker.recv(4096) for _ in queries) == sorted(answer(query, VIEW) for query in queries)
        counted = loop.counters()
    assert counted["batches"] == 1 and counted["unsent"] == 0
    return counted["joined"]


def test_where_replies_can_not_leave_together_they_leave_one_by_one(hosts: tuple[Host, Host]) -> None:
    """A way that is too narrow for one: IP cuts single replies, but not those that are to be cut already."""
    server, asker = hosts
    long_text = view({"192.0.2.1": value()}, dataclasses.replace(SPEC, text="x" * 800))
    query = question(f"1.2.0.192.{ZONE}", "TXT", edns=1232)
    interface = server.run("ip", "-o", "route", "get", "10.88.0.2").stdout.split("dev ")[1].split()[0]
    server.ip("link", "set", interface, "mtu", "600")
    try:
        with server.entered():
            udp, tcp = bind_group(bytes((10, 88, 0, 1)), 0)
        tcp.close()
        with asker.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock, udp[0]:
            sock.settimeout(10)
            with one_batch(udp) as loop:
                loop.publish(long_text.fast)
                sock.connect(udp[0].getsockname())
                for _ in range(9):
                    sock.send(query)
            assert {sock.recv(4096) for _ in range(9)} == {answer(query, long_text)}
            assert (loop.counters()["joined"], loop.counters()["unsent"]) == (0, 0)
    finally:
        server.ip("link", "set", interface, "mtu", "1500")
