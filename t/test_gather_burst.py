"""The core's bursts of connections: accepted and read, answered and closed, many in one call, over real sockets."""

import contextlib
import errno
import os
import resource
import socket

import pytest

from live.nets import wait_for
from spamcannibal._core import answer_burst, take_burst
from spamcannibal.addr import parse_addr
from spamcannibal.gather.desk import Desk, Manner
from spamcannibal.gather.server import ACCEPTS, Limits, Server
from test_gather_sink import Scene

EACH = 64


@pytest.fixture(params=["127.0.0.1", "::1", "unix"])
def place(request, tmp_path):
    """A listener and how to connect to it, and the addr that its peers have."""
    with contextlib.ExitStack() as held:
        if request.param == "unix":
            listener = held.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / "s"))
        else:
            listener = held.enter_context(socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET))
            listener.bind((request.param, 0))
        listener.listen(128)
        listener.setblocking(False)

        def connect(said=b""):
            sock = held.enter_context(socket.socket(listener.family))
            sock.settimeout(20)
            sock.connect(listener.getsockname())
            sock.sendall(said)
            return sock

        yield listener, connect, b"" if request.param == "unix" else parse_addr(request.param)


def take(listener, slots=16):
    return take_burst(listener.fileno(), bytearray(slots * EACH), EACH)


def is_open(descriptor):
    with contextlib.suppress(OSError):
        os.fstat(descriptor)
        return True
    return False


def test_what_each_said_comes_with_its_address_and_in_order(place):
    listener, connect, addr = place
    assert take(listener) == []
    said = [b"black 192.0.2.1\n", b"x" * 100, b""]
    clients = [connect(text) for text in said]
    ended = connect()
    ended.shutdown(socket.SHUT_WR)
    came = take(listener)
    try:
        assert [(peer, data) for _, peer, data in came] == [
            (addr, b"black 192.0.2.1\n"), (addr, b"x" * EACH), (addr, None), (addr, b"")
        ]  # fmt: skip
        assert not any(os.get_blocking(descriptor) or os.get_inheritable(descriptor) for descriptor, *_ in came)
        assert answer_burst([(descriptor, b"ok\n") for descriptor, *_ in came[2:]]) == []
        assert ended.recv(10) == b"ok\n" == clients[2].recv(10)
        assert clients[2].recv(10) == b""
        assert [is_open(descriptor) for descriptor, *_ in came] == [True, True, False, False]
    finally:
        answer_burst([(descriptor, b"") for descriptor, *_ in came[:2]])


def test_a_burst_is_no_longer_than_its_room_and_the_rest_waits(place):
    listener, connect, _ = place
    clients = [connect(b"%d" % n) for n in range(5)]
    bursts = [take(listener, 2) for _ in range(4)]
    assert [[data for *_, data in burst] for burst in bursts] == [[b"0", b"1"], [b"2", b"3"], [b"4"], []]
    assert answer_burst([(descriptor, data) for burst in bursts for descriptor, _, data in burst]) == []
    assert [client.recv(10) for client in clients] == [b"0", b"1", b"2", b"3", b"4"]


def test_who_does_not_take_all_of_an_answer_stays_open_and_who_has_gone_is_closed(place):
    listener, connect, _ = place
    slow, gone, quick = connect(b"a"), connect(b"b"), connect(b"c")
    came = take(listener)
    gone.close()
    text = b"x" * (32 << 20)
    ((descriptor, sent),) = answer_burst([(came[0][0], text), (came[1][0], b"late"), (came[2][0], b"ok")])
    assert descriptor == came[0][0] and 0 < sent < len(text)
    assert quick.recv(10) == b"ok"
    os.close(descriptor)
    got = 0
    while data := slow.recv(1 << 20):
        got += len(data)
    assert got == sent
    assert not is_open(came[1][0])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda listener: take_burst(listener.fileno(), bytearray(10), 0),
        lambda listener: take_burst(listener.fileno(), bytearray(10), 11),
        lambda listener: take_burst(listener.fileno(), b"read-only", 1),
        lambda listener: answer_burst([(-1, b"x")] * 257),
        lambda listener: answer_burst([b"x"]),
        lambda listener: answer_burst([(1, "text"), (2**40, b"")]),
    ],
)
def test_wrong_arguments_are_errors(place, wrong):
    with pytest.raises((ValueError, TypeError, BufferError, OverflowError)):
        wrong(place[0])


def test_what_the_system_lacks_is_an_error_once_nobody_can_be_accepted(place):
    listener, connect, _ = place
    clients = [connect(b"a"), connect(b"b")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(listener.fileno())
    os.close(lowest)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
        (first,) = take(listener)
        with pytest.raises(OSError) as told:
            take(listener)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told.value.errno == errno.EMFILE
    answer_burst([(first[0], b"1")])
    ((second, _, data),) = wait_for(lambda: take(listener), "the other one is accepted")
    assert data == b"b" and answer_burst([(second, b"2")]) == []
    assert [client.recv(10) for client in clients] == [b"1", b"2"]


# The server's use of them.


@pytest.fixture
def served(place):
    """The place with a server behind it that answers `status` with 32 MB."""
    listener, connect, addr = place
    scene = Scene()
    desk = Desk(scene.sink, scene.standing, Manner(("local", *([addr] if addr else []))), lambda: 0.0, lambda *_: None)
    desk.status = lambda: {"text": "x" * (32 << 20)}
    server = Server(desk, Limits(), None)
    server.listen(listener)
    yield server, connect
    server.stop()


def test_a_burst_is_served_whole_each_by_what_it_says_and_a_long_answer_waits_for_its_reader(served):
    server, connect = served
    slow, cut = connect(b"status\n"), connect(b"black 192.0")
    kept, ended = connect(b"get 192.0.2.1\n"), connect()
    lines = [connect(b"query 192.0.2.1\n") for _ in range(ACCEPTS)]  # more than one burst, with the others
    ended.close()
    server.start()
    assert [line.recv(100) for line in lines] == [b"none\n"] * ACCEPTS
    assert all(line.recv(1) == b"" for line in lines)
    cut.sendall(b".2.1\n")
    assert cut.recv(100).startswith(b"refused: no reporter")
    for _ in range(2):
        assert kept.recv(100) == b"500 none\n"
        kept.sendall(b"get 192.0.2.1\n")
    got = 0
    while data := slow.recv(1 << 20):
        got += len(data)
    assert got == (32 << 20) + len('{"text": ""}\n')
    assert server.counts["stalled"] == 1 and server.counts["accepted"] == ACCEPTS + 4
