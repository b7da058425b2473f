"""The packet loop against a kernel played in bytes: a socket pair carries the netlink messages of a queue.

The other end of the loop's ways out is a network namespace without a link, so replies go nowhere.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from live.nets import Lab, missing, wait_for
from spamcannibal._core import AddrTable, NfqLoop, Trap

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

ACCEPT, DROP = 1, 0
LISTED = socket.inet_aton("192.0.2.66")
SERVER = socket.inet_aton("198.51.100.1")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(number: int, payload: bytes, kind: int = 3 << 8, before: bytes = b"") -> bytes:
    """Give the netlink message by which the kernel queues a packet."""
    head = attribute(1, struct.pack(">IHB", number, 0x0800, 1))
    body = struct.pack(">BBH", 2, 0, 0) + before + head + attribute(5, struct.pack(">I", 1)) + attribute(10, payload)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def syn(src: bytes, sport: int = 4000, proto: int = 6) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", sport, 25, 1, 0, 5 << 4, 2, 64000, 0, 0)
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, proto, 0, src, SERVER) + tcp


def source(number: int) -> bytes:
    return bytes((10, *number.to_bytes(3, "big")))


class Kernel:
    """Our end of the queue's socket and the loop on the other."""

    def __init__(self, near: socket.socket, loop: NfqLoop) -> None:
        self.near = near
        self.loop = loop

    def verdicts(self) -> list[tuple[int, int]]:
        """Wait for one send of the loop; give its (verdict, up to which packet)."""
        data = self.near.recv(65536)
        while len(data) == 36:  # an idle loop asks now and then whether the queue is still its own
            data = self.near.recv(65536)
        found = []
        for at in range(0, len(data), 32):
            length, kind, flags = struct.unpack_from("=IHH", data, at)
            assert (length, kind, flags) == (32, 3 << 8 | 3, 1)
            assert struct.unpack_from("=HH", data, at + 20) == (12, 2)
            found.append(struct.unpack_from(">II", data, at + 24))
        return found

    def count(self, name: str) -> int:
        return self.loop.counters()[name]


@contextmanager
def kernel(**settings: int) -> Iterator[Kernel]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.settimeout(20)
    table = AddrTable()
    table.set(LISTED, 0x201)
    with Lab("nfqwire") as lab, near, far:
        with lab.host("nowhere").entered():
            yield Kernel(near, NfqLoop(far.fileno(), 7, table, Trap(1000, bytes(16)), **settings))


@contextmanager
def running(**settings: int) -> Iterator[Kernel]:
    with kernel(**settings) as played:
        thread = threading.Thread(target=played.loop.run)
        thread.start()
        assert played.near.recv(100)  # the flags
        try:
            yield played
        finally:
            played.loop.stop()
            thread.join()


def test_queue_is_set_to_fail_open_and_to_leave_packets_whole():
    with kernel() as played:
        data = played.near.recv(100)
    flags = attribute(5, struct.pack(">I", 0b101)) + attribute(4, struct.pack(">I", 0b101))
    assert data == struct.pack("=IHHIIBBH", 36, 3 << 8 | 2, 1, 0, 0, 0, 0, socket.htons(7)) + flags


def test_verdicts_go_out_as_runs_in_order():
    with kernel() as played:
        assert played.near.recv(100)
        for number, src in enumerate([source(1), source(2), LISTED, LISTED, source(3)], 10):
            played.near.send(message(number, syn(src)))
        thread = threading.Thread(target=played.loop.run)
        thread.start()
        assert played.verdicts() == [(ACCEPT, 11), (DROP, 13), (ACCEPT, 14)]
        played.loop.stop()
        thread.join()
        assert played.count("accepted") == 3
        assert played.count("dropped") == 2


def test_sightings_and_events_come_out_once():
    with running() as played:
        for number, src in enumerate([source(1), source(1), LISTED], 1):
            played.near.send(message(number, syn(src, 1000 + number)))
            played.verdicts()
        wait_for(lambda: played.count("turns") and played.count("packets") == 3, "three packets")
        # Sightings are noted after the verdict.
        drained = [played.loop.drain()]
        wait_for(lambda: drained.append(played.loop.drain()) or sum(len(d[0]) for d in drained) == 1, "the sighting")
        unlisted = [item for _, part, _ in drained for item in part]
        events = [event for _, _, part in drained for event in part]
        assert sum(count for _, count, _, _ in unlisted) == 2
        assert {addr for addr, *_ in unlisted} == {source(1)}
        assert all(0 < first <= last for _, _, first, last in unlisted)
        assert [event[1:] for event in events] == [("TRAP", "stutter", LISTED, 1003, SERVER, 25)]
        assert played.loop.drain() == ([], [], [])


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x45", b"\x45" + bytes(60), b"\xff" * 64, syn(source(1))[:30], syn(source(1), proto=17), syn(source(1))],
    ids=["nothing", "a byte", "zeros", "ones", "cut", "not TCP", "whole"],
)
def test_whatever_the_packet_it_is_accepted_if_not_listed(payload):
    with running() as played:
        played.near.send(message(5, payload))
        assert played.verdicts() == [(ACCEPT, 5)]


def test_messages_that_make_no_sense_are_counted_and_stop_nothing():
    whole = message(6, syn(source(1)))
    nonsense = [b"", b"\0" * 15, b"\0" * 16, struct.pack("=IHHII", 20, 3 << 8, 0, 0, 0) + bytes(4), whole[:24]]
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -2) + bytes(16)
    with running() as played:
        for data in [*nonsense, refusal, message(3, syn(LISTED), kind=99), whole]:
            played.near.send(data)
        assert played.verdicts() == [(ACCEPT, 6)]
        assert played.count("malformed") == len(nonsense)
        assert played.count("refused") == 1
        assert played.count("packets") == 1


def test_every_cut_of_a_message_is_survived():
    whole = message(9, syn(source(1)), before=attribute(9, struct.pack(">HH8s", 6, 0, b"abcdef")))
    with running() as played:
        for end in range(len(whole)):
            played.near.send(whole[:end])
            if end >= 20 + 16 + 11:  # the packet's number is in
                assert played.verdicts() == [(ACCEPT, 9)]
        played.near.send(whole)
        assert played.verdicts() == [(ACCEPT, 9)]


def test_attributes_that_lie_about_their_length_are_survived():
    with running() as played:
        for length in (0, 1, 3, 5, 60000):
            played.near.send(message(4, syn(source(1)), before=struct.pack("=HH", length, 9)))
        played.near.send(message(8, syn(source(2))))
        while played.verdicts()[-1] != (ACCEPT, 8):
            pass


def test_a_verdict_that_the_kernel_does_not_take_is_made_up_for():
    """Nobody reads our verdicts for a while; in the end each packet has one."""
    with running() as played:
        numbers = iter(range(1, 10_000))
        last = 0
        while not played.count("verdicts_late"):
            last = next(numbers)
            played.near.send(message(last, syn(LISTED, last)))
        wait_for(lambda: played.count("packets") == last, "all packets read")
        found = [(DROP, 0)]
        while found[-1][1] != last:
            found += played.verdicts()
        assert [upto for _, upto in found] == sorted({upto for _, upto in found})


def test_a_lost_queue_ends_the_loop_with_the_reason():
    with kernel() as played:
        assert played.near.recv(100)
        played.near.send(message(1, syn(LISTED)))
        played.near.close()
        with pytest.raises(ConnectionRefusedError):
            played.loop.run()


def test_distinct_sources_are_bounded_and_the_rest_is_counted():
    with running(sightings=64) as played:
        for number in range(1, 301):
            played.near.send(message(number, syn(source(number))))
            played.verdicts()
        wait_for(lambda: played.count("sightings_shed") == 300 - 64, "the shed sightings")
        _, unlisted, _ = played.loop.drain()
        assert len(unlisted) == len({addr for addr, *_ in unlisted}) == 64


def test_events_are_bounded_and_the_rest_is_counted():
    with running() as played:
        for number in range(1, 4501):
            played.near.send(message(number, syn(LISTED, number)))
            played.verdicts()
        wait_for(lambda: played.count("events_lost") == 4500 - 4096, "the lost events")
        assert len(played.loop.drain()[2]) == 4096


def test_a_loop_stopped_before_it_runs_returns_at_once():
    with kernel() as played:
        played.loop.stop()
        assert played.loop.run() is None


def test_a_loop_runs_once_at_a_time():
    with running() as played:
        wait_for(lambda: played.count("turns"), "the loop to run")
        with pytest.raises(RuntimeError, match="runs already"):
            played.loop.run()
