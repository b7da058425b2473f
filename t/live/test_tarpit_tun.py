"""The reply engine against Linux's TCP: each mode holds a real client as the theory in core/tarpit.h says."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from live.nets import Lab, wait_for
from live.tun import PEERS, RETRIES, TunTarpit
from spamcannibal._core import Trap

ESTABLISHED = 1
NAME = "mail.example.org"
GREETING = f"220 {NAME} ESMTP\r\n".encode()
LINE = f"220-{NAME} ESMTP\r\n".encode()
SECRET = bytes(range(16))


def stream(length: int, start: int = 0) -> bytes:
    return (LINE * (2 + (start + length) // len(LINE)))[start : start + length]


def new_trap(mode: str, slots: int = 8) -> Trap:
    trap = Trap(slots, SECRET)
    trap.configure(mode=mode, greeting_name=NAME, stutter_interval_s=0.01)
    return trap


@pytest.fixture(params=["v4", "v6"])
def peer(request: pytest.FixtureRequest) -> str:
    return PEERS[request.param]


@pytest.fixture
def lab() -> Iterator[Lab]:
    if not os.path.exists("/dev/net/tun"):  # noqa: PTH110
        pytest.skip("no /dev/net/tun")
    with Lab("tun") as made:
        yield made


def state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]


def unanswered_probes(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[3]


def receive(sock: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        piece = sock.recv(length - len(got))
        assert piece, f"closed after {got!r}"
        got += piece
    return got


def fill(sock: socket.socket) -> None:
    """Write until the socket takes no more."""
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def is_dead(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in {errno.ETIMEDOUT, errno.EHOSTUNREACH}


@contextmanager
def all_connected(pit: TunTarpit) -> Iterator[list[socket.socket]]:
    """One client by IPv4 and one by IPv6: tests that wait on kernel timers wait once for both."""
    with pit.connect(PEERS["v4"]) as v4, pit.connect(PEERS["v6"]) as v6:
        yield [v4, v6]


def wait_for_probes(pit: TunTarpit, socks: list[socket.socket]) -> None:
    """See the clients probe more often than they would without answers, and still be at it."""
    before = [pit.count("PROBE", sock) for sock in socks]
    for sock, had in zip(socks, before, strict=True):
        wait_for(lambda sock=sock, had=had: pit.count("PROBE", sock) - had >= RETRIES + 3, "many answered probes")
        assert state(sock) == ESTABLISHED
        assert unanswered_probes(sock) <= 1


def test_throttle_answers_once_and_leaves_the_client_waiting(lab: Lab) -> None:
    with TunTarpit(lab.host("client"), new_trap("throttle")) as pit, all_connected(pit) as socks:
        for sock in socks:
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.send(b"EHLO client.example\r\n")
            wait_for(lambda sock=sock: pit.count("STRAY", sock) >= 3, "the client repeats what nobody acknowledges")
            assert state(sock) == ESTABLISHED
            assert pit.count("TRAP", sock) == 1
        assert {event for _, event in pit.events} == {"TRAP", "STRAY"}


def test_persist_keeps_clients_probing_for_as_long_as_they_are_answered(lab: Lab) -> None:
    with TunTarpit(lab.host("client"), new_trap("persist")) as pit:
        with all_connected(pit) as polite, all_connected(pit) as early:
            for sock in early:
                fill(sock)
            for sock in polite:
                assert receive(sock, len(GREETING)) == GREETING
                fill(sock)
            everybody = polite + early
            wait_for_probes(pit, everybody)
            assert all(pit.count("DATA", sock) == 1 for sock in everybody)
            pit.muted = True
            for sock in everybody:
                wait_for(lambda sock=sock: is_dead(sock), "without answers clients give up: it was they", 60)


def test_persist_keeps_a_client_that_has_less_to_say_than_the_window(lab: Lab) -> None:
    with TunTarpit(lab.host("client"), new_trap("persist")) as pit, all_connected(pit) as socks:
        for sock in socks:
            assert receive(sock, len(GREETING)) == GREETING
            sock.send(b"QUIT\r\n")
            wait_for(lambda sock=sock: pit.count("DATA", sock) == 1, "the six bytes are accepted")
            sock.send(b"QUIT\r\n")
        wait_for_probes(pit, socks)


def test_stutter_sends_the_endless_greeting_byte_by_byte(lab: Lab, peer: str) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter")) as pit, pit.connect(peer) as sock:
        assert receive(sock, 3 * len(LINE)) == LINE * 3
        stats = pit.trap.stats()
        assert stats["held"] == 1
        assert stats["acked_bytes"] >= 3 * len(LINE) - 1
        sock.close()
        wait_for(lambda: pit.trap.stats()["held"] == 0, "the next byte meets a reset, which frees the slot")


def test_stutter_goes_on_at_the_right_byte_after_all_memory_was_lost(lab: Lab, peer: str) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter")) as pit, pit.connect(peer) as sock:
        got = receive(sock, 17)
        pit.restart(new_trap("stutter"))
        got += receive(sock, 100)
        assert got == stream(117)
        assert pit.trap.stats()["armed"] == 1


def test_stutter_goes_on_after_a_restart_with_a_dump(lab: Lab, peer: str) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter")) as pit, pit.connect(peer) as sock:
        got = receive(sock, 17)
        old = pit.trap.dump()
        got += receive(sock, 20)
        fresh = Trap(8, bytes(16))
        fresh.configure(mode="stutter", greeting_name=NAME, stutter_interval_s=0.01)
        assert fresh.load(old) == 1
        pit.restart(fresh, in_flight=False)
        got += receive(sock, 100)
        assert got == stream(137), "the dump's position was old, the client's ACK put it right"


def test_stutter_holds_an_early_talker_by_its_window_probes(lab: Lab) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter")) as pit:
        pit.trap.configure(stutter_interval_s=86400)
        with all_connected(pit) as socks:
            for sock in socks:
                fill(sock)
            wait_for_probes(pit, socks)
            pit.trap.configure(stutter_interval_s=0.01)
            for sock in socks:
                sock.settimeout(5)
                assert receive(sock, 50) == stream(50)


def test_a_probe_that_meets_an_empty_trap_costs_at_most_one_byte_of_the_stream(lab: Lab) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter")) as pit, all_connected(pit) as socks:
        for sock in socks:
            fill(sock)
            sock.settimeout(5)
        got = [receive(sock, 17) for sock in socks]
        pit.trap.configure(stutter_interval_s=86400)
        pit.restart(new_trap("stutter"), in_flight=False)
        got = [had + receive(sock, 100) for sock, had in zip(socks, got, strict=True)]
        for data in got:
            assert sum(a != b for a, b in zip(data, stream(117), strict=True)) <= 1
        pit.trap.configure(stutter_interval_s=86400)
        wait_for_probes(pit, socks)


def test_a_client_without_a_slot_gets_the_greeting_and_goes_on_when_there_is_one(lab: Lab, peer: str) -> None:
    with TunTarpit(lab.host("client"), new_trap("stutter", slots=1)) as pit, pit.connect(peer) as first:
        assert receive(first, 8) == stream(8)
        with pit.connect(peer) as second:
            assert receive(second, len(GREETING)) == GREETING
            second.send(b"EHLO client.example\r\n")
            wait_for(lambda: pit.count("PROBE", second) >= 2, "its probes are answered")
            assert pit.trap.stats()["shed_slots"] == 1
            first.close()
            assert receive(second, 60) == stream(60)
