"""The shell over real sockets on loopback: UDP, TCP, slow and many clients, texts that take their time."""

import contextlib
import dataclasses
import io
import socket
import struct
import threading
from collections.abc import Iterator

import dnslib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsbl_peers import SPEC, ZONE, outcome, question, value, view
from live.nets import wait_for
from spamcannibal.addr import parse_key
from spamcannibal.colours import Kind
from spamcannibal.dnsbl import answer, texts
from spamcannibal.dnsbl.client import look_up, over_network
from spamcannibal.dnsbl.server import Limits, Server
from spamcannibal.dnsbl.sockets import bind_group
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.errors import ConfigError, StoreError, Unavailable, Unsupported
from spamcannibal.events import EventLog

V4, V6 = bytes((127, 0, 0, 1)), bytes(15) + b"\1"
ENTRIES = {"192.0.2.1": value(has_text=True), "192.0.2.2": value(has_text=True), "2001:db8::/64": value()}
VIEW = view(ENTRIES, texts={"192.0.2.1": "x" * 1500})


class Running:
    """A server on free ports of both loopbacks, what it logged, and its two addresses."""

    def __init__(self, shown: answer.View, limits: Limits, read_text: texts.Callable[[bytes], str]) -> None:
        self.stream = io.StringIO()
        self.server = Server([(V4, 0), (V6, 0)], limits, EventLog(self.stream))
        self.texts = Texts(read_text)
        self.server.start(shown, self.texts)
        self.peers = [tcp.getsockname()[:2] for tcp in self.server._tcp_sockets]

    def udp(self, query: bytes, timeout_s: float = 5.0) -> bytes:
        with datagram(self.peers[0]) as sock:
            sock.settimeout(timeout_s)
            sock.send(query)
            return sock.recv(65535)

    def tcp(self) -> socket.socket:
        return socket.create_connection(self.peers[0], 5)


def datagram(peer: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in peer[0] else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(peer)
    return sock


@contextlib.contextmanager
def running(
    shown: answer.View = VIEW, read_text: texts.Callable[[bytes], str] = lambda key: "", **limits: float
) -> Iterator[Running]:
    made = Running(shown, Limits(**limits), read_text)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.server.close()
        made.texts.close()


def framed(*queries: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(query)) + query for query in queries)


def receive(sock: socket.socket) -> bytes:
    """One reply over TCP, empty at the end of the connection."""
    with sock.makefile("rb") as stream:
        head = stream.read(2)
        return stream.read(struct.unpack(">H", head)[0]) if len(head) == 2 else b""


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


Q1, Q2 = question(f"1.2.0.192.{ZONE}"), question(f"2.2.0.192.{ZONE}", "TXT")


def test_both_families_answer_over_both_transports() -> None:
    with running() as made:
        for peer in made.peers:
            with datagram(peer) as udp, socket.create_connection(peer, 5) as tcp:
                udp.settimeout(5)
                udp.send(Q1)
                tcp.sendall(framed(Q1))
                for reply in (udp.recv(4096), receive(tcp)):
                    assert outcome(dnslib.DNSRecord.parse(reply)) == "127.0.0.2"
        counters = made.server.counters
        assert (counters["udp_queries"], counters["udp_answered"], counters["tcp"]) == (2, 2, 2)
        assert not counters["udp"]  # none of them came to Python


def test_what_is_cut_over_udp_is_whole_over_tcp() -> None:
    query = question(f"1.2.0.192.{ZONE}", "TXT", edns=4096)
    with running() as made, made.tcp() as tcp:
        assert dnslib.DNSRecord.parse(made.udp(query)).header.tc == 1
        tcp.sendall(framed(query))
        assert len(b"".join(dnslib.DNSRecord.parse(receive(tcp)).rr[0].rdata.data)) == 1500


def test_the_configured_payload_size_bounds_udp_replies() -> None:
    query = question(f"1.2.0.192.{ZONE}", "TXT", edns=4096)
    with running(udp_payload_bytes=4096) as made:
        assert dnslib.DNSRecord.parse(made.udp(query)).header.tc == 0


def test_pipelined_queries_are_all_answered_on_one_connection() -> None:
    queries = [struct.pack(">H", number) + Q1[2:] for number in range(200)]
    with running() as made, made.tcp() as tcp:
        tcp.sendall(framed(*queries))
        with tcp.makefile("rb") as stream:
            replies = [stream.read(struct.unpack(">H", stream.read(2))[0]) for _ in queries]
        assert [reply[:2] for reply in replies] == [query[:2] for query in queries]


def test_a_query_in_single_bytes_is_answered() -> None:
    with running() as made, made.tcp() as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(Q1):
            tcp.send(bytes((byte,)))
        assert outcome(dnslib.DNSRecord.parse(receive(tcp))) == "127.0.0.2"


def test_silent_and_slow_connections_are_closed() -> None:
    with running(tcp_idle_s=0.2) as made, made.tcp() as silent, made.tcp() as halfway, made.tcp() as short:
        halfway.send(framed(Q1)[:10])
        short.sendall(b"\0")
        assert all(map(is_closed, (silent, halfway, short)))
        with made.tcp() as tcp:
            tcp.sendall(framed(Q1))
            assert receive(tcp)


def test_a_client_that_takes_no_replies_is_closed() -> None:
    query = framed(question(f"1.2.0.192.{ZONE}", "TXT"))
    with running(tcp_idle_s=0.3) as made, made.tcp() as tcp:
        tcp.settimeout(20)
        with pytest.raises(ConnectionError):
            while True:  # until both buffers are full and the server gave up on us
                tcp.sendall(query * 500)
        assert made.udp(Q1)


def test_what_is_no_query_ends_the_connection() -> None:
    with running() as made, made.tcp() as tcp:
        tcp.sendall(framed(b"\0" * 2 + b"\x80" + b"\0" * 9))
        assert is_closed(tcp)


def test_connections_past_the_cap_push_out_the_longest_silent() -> None:
    with running(tcp_connections=3) as made, contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(made.tcp()) for _ in range(3))
        for sock in (first, second, third, first):
            sock.sendall(framed(Q1))
            assert receive(sock)
        fourth = stack.enter_context(made.tcp())
        fourth.sendall(framed(Q1))
        assert receive(fourth)
        assert is_closed(second)
        for sock in (first, third, fourth):
            sock.sendall(framed(Q1))
            assert receive(sock)


def test_many_idle_connections_keep_nobody_out() -> None:
    with running(tcp_connections=16) as made, contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(made.tcp())
        with made.tcp() as tcp:
            tcp.sendall(framed(Q1))
            assert receive(tcp)


def test_texts_are_read_from_the_store_once_and_kept() -> None:
    asked: list[bytes] = []

    def read(key: bytes) -> str:
        asked.append(key)
        return "read for $"

    with running(read_text=read) as made:
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        for _ in range(3):
            assert outcome(dnslib.DNSRecord.parse(made.udp(Q2))) == '"read for 192.0.2.2"'
        with made.tcp() as tcp:
            tcp.sendall(framed(question(f"3.2.0.192.{ZONE}", "TXT"), Q2))
            assert outcome(dnslib.DNSRecord.parse(receive(tcp))) == "NXDOMAIN"
        assert asked == [parse_key("192.0.2.2")]
        made.texts.put(parse_key("192.0.2.2"), "changed")
        assert outcome(dnslib.DNSRecord.parse(made.udp(Q2))) == '"changed"'


def test_a_stuck_store_costs_texts_and_nothing_else() -> None:
    gate = threading.Event()

    def read(key: bytes) -> str:
        gate.wait(30)
        return "late"

    with running(read_text=read) as made:
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        with datagram(made.peers[0]) as waiting:
            waiting.settimeout(5)
            waiting.send(Q2)
            assert outcome(dnslib.DNSRecord.parse(made.udp(Q1))) == "127.0.0.2"
            assert outcome(dnslib.DNSRecord.parse(waiting.recv(4096))) == '"192.0.2.2 is listed"'
        gate.set()
        told = question(f"2.2.0.192.{ZONE}", "TXT")
        assert wait_for(lambda: b"late" in made.udp(told), "the text that came late is kept")


def test_more_missing_texts_than_the_bound_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "PENDING_LIMIT", 1)
    monkeypatch.setattr(texts, "WAIT_S", 60.0)
    gate = threading.Event()

    def read(key: bytes) -> str:
        gate.wait(30)
        return "slow"

    with running(read_text=read) as made, datagram(made.peers[0]) as waiting:
        waiting.settimeout(20)
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        waiting.send(Q2)
        wait_for(lambda: made.texts._pending, "the first text is being read")
        other = question(f"1.2.0.192.{ZONE}", "TXT")
        assert outcome(dnslib.DNSRecord.parse(made.udp(other))) == '"192.0.2.1 is listed"'
        gate.set()
        assert outcome(dnslib.DNSRecord.parse(waiting.recv(4096))) == '"slow"'


def test_a_store_that_fails_costs_texts_and_nothing_else() -> None:
    def read(key: bytes) -> str:
        raise StoreError("disk on fire")

    with running(read_text=read) as made:
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        assert outcome(dnslib.DNSRecord.parse(made.udp(Q2))) == '"192.0.2.2 is listed"'
        assert made.texts.failures == 1


def test_more_waiting_datagrams_than_the_bound_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spamcannibal.dnsbl.responder.WAITING_LIMIT", 2)
    monkeypatch.setattr(texts, "WAIT_S", 60.0)
    gate = threading.Event()

    def read(key: bytes) -> str:
        gate.wait(30)
        return "slow"

    with running(read_text=read) as made, datagram(made.peers[0]) as waiting:
        waiting.settimeout(20)
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        for _ in range(3):
            waiting.send(Q2)
        replies = [outcome(dnslib.DNSRecord.parse(waiting.recv(4096)))]
        gate.set()
        replies += [outcome(dnslib.DNSRecord.parse(waiting.recv(4096))) for _ in range(2)]
        assert replies == ['"192.0.2.2 is listed"', '"slow"', '"slow"']


def test_a_bug_in_reading_texts_answers_servfail() -> None:
    def read(key: bytes) -> str:
        raise RuntimeError("bug")

    with running(read_text=read) as made, made.tcp() as tcp:
        made.server.publish(dataclasses.replace(VIEW, text=made.texts.get), made.texts)
        tcp.sendall(framed(Q2))
        for reply in (made.udp(Q2), receive(tcp)):
            assert (reply[3] & 15, len(reply)) == (2, 12)
        assert outcome(dnslib.DNSRecord.parse(made.udp(Q1))) == "127.0.0.2"


def test_a_bug_answers_servfail_and_is_told() -> None:
    def broken(addr: bytes) -> tuple[int, int]:
        raise RuntimeError("bug")

    shelf = type("Shelf", (), {"match": staticmethod(broken), "has_below": staticmethod(broken)})()
    with running(dataclasses.replace(VIEW, listings={Kind(): shelf}, fast=None)) as made, made.tcp() as tcp:
        tcp.sendall(framed(Q1))
        for reply in (made.udp(Q1), receive(tcp)):
            assert (reply[:2], reply[3] & 15, len(reply)) == (Q1[:2], 2, 12)
        assert outcome(dnslib.DNSRecord.parse(made.udp(question(ZONE)))) == "192.0.2.80"
        assert made.stream.getvalue().count("DNSFAIL") == 2 and made.server.counters["failed"] == 2


def test_other_zones_are_published_while_it_runs() -> None:
    with running() as made:
        other = question("1.2.0.192.other.test")
        assert outcome(dnslib.DNSRecord.parse(made.udp(other))) == "REFUSED"
        made.server.publish(view(ENTRIES, dataclasses.replace(SPEC, name="other.test", hosts=())), made.texts)
        assert outcome(dnslib.DNSRecord.parse(made.udp(other))) == "127.0.0.2"


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with running() as made:
        yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=1400), max_size=5))
def test_garbage_does_not_keep_others_from_their_answers(shared: Running, garbage: list[bytes]) -> None:
    with datagram(shared.peers[0]) as udp, shared.tcp() as tcp:
        with contextlib.suppress(OSError):
            tcp.sendall(framed(*garbage))
        for data in garbage:
            udp.send(data)
        assert outcome(dnslib.DNSRecord.parse(shared.udp(Q1))) == "127.0.0.2"
        assert "failed" not in shared.server.counters


def test_a_reply_leaves_from_the_address_that_was_asked() -> None:
    server = Server([(bytes(4), 0)], Limits(), EventLog(io.StringIO()))
    with contextlib.closing(server):
        server.start(VIEW, Texts(lambda key: ""))
        port = server._tcp_sockets[0].getsockname()[1]
        for target in ("127.0.0.1", "127.7.7.7"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(Q1, (target, port))
                assert sock.recvfrom(4096)[1] == (target, port)


@pytest.mark.parametrize("threads", [1, 3])
def test_ports_that_cannot_be_had_are_named(threads: int) -> None:
    with contextlib.ExitStack() as stack:
        udp, tcp = bind_group(V4, 0, threads)
        for sock in (*udp, tcp):
            stack.enter_context(sock)
            port = sock.getsockname()[1]
        with pytest.raises(Unsupported, match=f"127.0.0.1:{port} is in use"):
            bind_group(V4, port, threads)
    with pytest.raises(ConfigError, match=r"no address 192\.0\.2\.99:0"):
        bind_group(bytes((192, 0, 2, 99)), 0)


def test_the_client_follows_a_cut_reply_and_names_a_dead_server() -> None:
    told = view(ENTRIES, texts={"192.0.2.1": "long " * 300})
    with running(told) as made:
        addr, port = V4, made.peers[0][1]
        verdict = look_up(parse_key("192.0.2.1"), ZONE, over_network(addr, port, 5))
        assert (verdict.rcode, verdict.code, len(verdict.text)) == ("NOERROR", "127.0.0.2", 1500)
        verdict = look_up(parse_key("192.0.2.9"), ZONE, over_network(addr, port, 5))
        assert (verdict.rcode, verdict.code, verdict.text) == ("NXDOMAIN", "", "")
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} does not answer"):
        look_up(parse_key("192.0.2.1"), ZONE, over_network(addr, port, 0.1))


def test_stopping_does_not_wait_for_clients() -> None:
    with running(tcp_idle_s=3600.0) as made, made.tcp() as tcp:
        tcp.sendall(framed(Q1))
        assert receive(tcp)
        made.server.stop()
        assert is_closed(tcp)
